//! Parses one value into one Rust type. An error says what would be valid; the caller adds key, value and origin.

use std::net::SocketAddr;
use std::time::Duration;

use super::node::{ConfigNode, ConfigValue};
use super::problem::nearest;
use super::{LogFormat, OriginError, OriginPattern, WebSocketOrigins};
use crate::protocol::{Protocol, TransportKind};

/// The result of a parser; the error completes the sentence "KEY = VALUE: ...".
pub(super) type Parsed<T> = Result<T, String>;

/// A longer duration is probably a mistake in the unit. The limit also keeps sums of durations from overflowing.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn text(node: &ConfigNode) -> Parsed<String> {
    node.as_text().map(str::to_owned).ok_or_else(|| format!("must be a string, not {}", node.kind()))
}

pub(super) fn non_empty_text(node: &ConfigNode) -> Parsed<String> {
    match text(node)? {
        text if text.trim().is_empty() => Err("must not be empty".to_owned()),
        text => Ok(text),
    }
}

pub(super) fn boolean(node: &ConfigNode) -> Parsed<bool> {
    match (&node.value, &node.raw) {
        (ConfigValue::Boolean(value), _) => Ok(*value),
        (ConfigValue::Text(text), Some(_)) if text.eq_ignore_ascii_case("true") => Ok(true),
        (ConfigValue::Text(text), Some(_)) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A duration; zero is allowed.
pub(super) fn duration(node: &ConfigNode) -> Parsed<Duration> {
    const EXAMPLE: &str = "must be a duration: a string with a unit, such as \"15s\", \"500ms\" or \"1m 30s\"";
    let Some(text) = node.as_text() else { return Err(EXAMPLE.to_owned()) };
    match humantime::parse_duration(text) {
        Ok(value) if value <= MAX_DURATION => Ok(value),
        Ok(_) => Err("must be at most a year".to_owned()),
        Err(_) => Err(EXAMPLE.to_owned()),
    }
}

/// A duration longer than zero.
pub(super) fn positive_duration(node: &ConfigNode) -> Parsed<Duration> {
    match duration(node)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        value => Ok(value),
    }
}

fn integer(node: &ConfigNode, what: &str) -> Parsed<usize> {
    match node.value {
        ConfigValue::Integer(Some(number)) => usize::try_from(number).map_err(|_| format!("must be {what}")),
        _ => Err(format!("must be {what}")),
    }
}

/// A size; 0 is unlimited.
pub(super) fn size(node: &ConfigNode) -> Parsed<Option<usize>> {
    Ok(Some(integer(node, "an integer of 0 (unlimited) or more")?).filter(|size| *size != 0))
}

/// A size; 0, which is unlimited, becomes `usize::MAX`.
pub(super) fn size_or_max(node: &ConfigNode) -> Parsed<usize> {
    Ok(size(node)?.unwrap_or(usize::MAX))
}

/// A number of at least one.
pub(super) fn count(node: &ConfigNode) -> Parsed<usize> {
    const EXAMPLE: &str = "an integer of 1 or more";
    match integer(node, EXAMPLE)? {
        0 => Err(format!("must be {EXAMPLE}")),
        count => Ok(count),
    }
}

pub(super) fn negotiate_version(node: &ConfigNode) -> Parsed<i32> {
    match node.value {
        ConfigValue::Integer(Some(0)) => Ok(0),
        ConfigValue::Integer(Some(1)) => Ok(1),
        _ => Err("must be 0 or 1, the existing versions of negotiate".to_owned()),
    }
}

pub(super) fn address(node: &ConfigNode) -> Parsed<SocketAddr> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(8080);
        format!(
            "must be an IP address and a port: \"127.0.0.1:{port}\" for this machine only, \"0.0.0.0:{port}\" or \
             \"[::]:{port}\" for all"
        )
    })
}

pub(super) fn log_filter(node: &ConfigNode) -> Parsed<String> {
    let text = text(node)?;
    if text.trim().is_empty() {
        return Err("must not be empty; \"off\" silences the log".to_owned());
    }
    if is_log_filter(&text) {
        Ok(text)
    } else {
        Err("must be a filter in the syntax of RUST_LOG: \"info\", or \"info,hubplane=debug\"".to_owned())
    }
}

#[cfg(feature = "cli")]
fn is_log_filter(text: &str) -> bool {
    tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}

/// Accepts every filter: without the feature `cli` nothing sets up a log, and the host decides what the key means.
#[cfg(not(feature = "cli"))]
fn is_log_filter(_text: &str) -> bool {
    true
}

pub(super) fn log_format(node: &ConfigNode) -> Parsed<LogFormat> {
    match text(node)?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be \"text\" or \"json\"".to_owned()),
    }
}

/// A list of strings; `each` parses one of them.
pub(super) fn texts<T>(node: &ConfigNode, each: impl Fn(&ConfigNode, String) -> Parsed<T>) -> Parsed<Vec<T>> {
    let items = node.as_list().ok_or_else(|| format!("must be a list of strings, not {}", node.kind()))?;
    items.iter().map(|item| text(item).and_then(|text| each(item, text))).collect()
}

pub(super) fn protocols(node: &ConfigNode) -> Parsed<Vec<Protocol>> {
    choices(node, &Protocol::ALL.map(Protocol::name), Protocol::from_name)
}

pub(super) fn transports(node: &ConfigNode) -> Parsed<Vec<TransportKind>> {
    choices(node, &TransportKind::ALL.map(TransportKind::name), TransportKind::from_name)
}

fn choices<T: PartialEq>(node: &ConfigNode, all: &[&'static str], named: fn(&str) -> Option<T>) -> Parsed<Vec<T>> {
    let mut chosen = Vec::new();
    for name in texts(node, |_, text| Ok(text))? {
        let Some(choice) = named(&name) else {
            let hint = nearest(&name, all.iter().copied());
            let hint = hint.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
            return Err(format!("must be a list of {}{hint}", alternatives(all)));
        };
        if chosen.contains(&choice) {
            return Err(format!("names \"{name}\" twice"));
        }
        chosen.push(choice);
    }
    if chosen.is_empty() {
        return Err(format!("must name at least one of {}", alternatives(all)));
    }
    Ok(chosen)
}

/// `"a", "b" or "c"`.
fn alternatives(all: &[&str]) -> String {
    let quoted: Vec<String> = all.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// `cors_origins`: exact origins, `https://*.example.com`, or `*` alone.
pub(super) fn cors_origins(node: &ConfigNode) -> Parsed<Vec<OriginPattern>> {
    let list = texts(node, |_, text| text.parse().map_err(|error| not_an_origin(&text, &error)))?;
    if list.len() > 1 && list.iter().any(OriginPattern::is_any) {
        return Err("\"*\" must be the only entry: with it, no origin gets credentials".to_owned());
    }
    Ok(list)
}

fn not_an_origin(text: &str, error: &OriginError) -> String {
    let shown = super::node::quoted(text);
    match error {
        // Masking would hide everything in front of the '@', including the form that is shown before it.
        OriginError::Form(right) if text.contains('@') => format!("must be written as browsers send it: \"{right}\""),
        OriginError::Form(right) => format!("must be written as browsers send it: \"{right}\", not {shown}"),
        OriginError::NotAnOrigin => format!(
            "must be origins without a path, such as \"https://app.example.com\", \"https://*.example.com\" or \"*\"; {shown} is not one"
        ),
    }
}

pub(super) fn websocket_origins(node: &ConfigNode) -> Parsed<WebSocketOrigins> {
    match text(node)?.as_str() {
        "cors" => Ok(WebSocketOrigins::Cors),
        "any" => Ok(WebSocketOrigins::Any),
        _ => Err("must be \"cors\" or \"any\"".to_owned()),
    }
}
