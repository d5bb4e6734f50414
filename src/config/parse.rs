//! One value into one Rust type. An error says what would be right; the caller knows key, value and place.

use std::net::SocketAddr;
use std::time::Duration;

use super::LogFormat;
use super::node::{Node, Value};
use super::problem::nearest;
use crate::protocol::{Protocol, TransportKind};

/// What a parser gives.
pub(super) type Parsed<T> = Result<T, String>;

/// More than this is a slip of the unit; it also keeps every sum of times far from overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn text(node: &Node) -> Parsed<String> {
    node.as_text().map(str::to_owned).ok_or_else(|| format!("must be a string, not {}", node.kind()))
}

pub(super) fn filled_text(node: &Node) -> Parsed<String> {
    match text(node)? {
        text if text.trim().is_empty() => Err("must not be empty".to_owned()),
        text => Ok(text),
    }
}

pub(super) fn boolean(node: &Node) -> Parsed<bool> {
    match (&node.value, &node.raw) {
        (Value::Boolean(value), _) => Ok(*value),
        (Value::Text(text), Some(_)) if text.eq_ignore_ascii_case("true") => Ok(true),
        (Value::Text(text), Some(_)) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A length of time, zero allowed.
pub(super) fn duration(node: &Node) -> Parsed<Duration> {
    const EXAMPLE: &str = "must be a duration: a string with a unit, such as \"15s\", \"500ms\" or \"1m 30s\"";
    let Some(text) = node.as_text() else { return Err(EXAMPLE.to_owned()) };
    match humantime::parse_duration(text) {
        Ok(value) if value <= LONGEST => Ok(value),
        Ok(_) => Err("must be at most a year".to_owned()),
        Err(_) => Err(EXAMPLE.to_owned()),
    }
}

/// A length of time that is none of zero.
pub(super) fn positive_duration(node: &Node) -> Parsed<Duration> {
    match duration(node)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        value => Ok(value),
    }
}

fn integer(node: &Node, what: &str) -> Parsed<usize> {
    match node.value {
        Value::Integer(Some(number)) => usize::try_from(number).map_err(|_| format!("must be {what}")),
        _ => Err(format!("must be {what}")),
    }
}

/// A size; 0 is unlimited.
pub(super) fn size(node: &Node) -> Parsed<Option<usize>> {
    Ok(Some(integer(node, "an integer of 0 (unlimited) or more")?).filter(|size| *size != 0))
}

/// A size where unlimited is the largest number there is.
pub(super) fn size_or_max(node: &Node) -> Parsed<usize> {
    Ok(size(node)?.unwrap_or(usize::MAX))
}

/// A number of things, at least one.
pub(super) fn count(node: &Node) -> Parsed<usize> {
    const EXAMPLE: &str = "an integer of 1 or more";
    match integer(node, EXAMPLE)? {
        0 => Err(format!("must be {EXAMPLE}")),
        count => Ok(count),
    }
}

pub(super) fn negotiate_version(node: &Node) -> Parsed<i32> {
    match node.value {
        Value::Integer(Some(0)) => Ok(0),
        Value::Integer(Some(1)) => Ok(1),
        _ => Err("must be 0 or 1, the versions of negotiate that exist".to_owned()),
    }
}

pub(super) fn address(node: &Node) -> Parsed<SocketAddr> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(8080);
        format!(
            "must be an IP address and a port: \"127.0.0.1:{port}\" for this machine alone, \"0.0.0.0:{port}\" or \
             \"[::]:{port}\" for all"
        )
    })
}

pub(super) fn log_filter(node: &Node) -> Parsed<String> {
    let text = text(node)?;
    if text.trim().is_empty() {
        return Err("must not be empty; \"off\" silences the log".to_owned());
    }
    match tracing_subscriber::EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err("must be a filter as RUST_LOG takes it: \"info\", or \"info,hubplane=debug\"".to_owned()),
    }
}

pub(super) fn log_format(node: &Node) -> Parsed<LogFormat> {
    match text(node)?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be \"text\" or \"json\"".to_owned()),
    }
}

/// A list of strings; `each` checks one of them.
pub(super) fn texts(node: &Node, each: impl Fn(&Node, String) -> Parsed<String>) -> Parsed<Vec<String>> {
    let items = node.as_list().ok_or_else(|| format!("must be a list of strings, not {}", node.kind()))?;
    items.iter().map(|item| text(item).and_then(|text| each(item, text))).collect()
}

pub(super) fn protocols(node: &Node) -> Parsed<Vec<Protocol>> {
    choices(node, &Protocol::ALL.map(Protocol::name), Protocol::from_name)
}

pub(super) fn transports(node: &Node) -> Parsed<Vec<TransportKind>> {
    choices(node, &TransportKind::ALL.map(TransportKind::name), TransportKind::from_name)
}

fn choices<T: PartialEq>(node: &Node, all: &[&'static str], named: fn(&str) -> Option<T>) -> Parsed<Vec<T>> {
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
pub(super) fn origins(node: &Node) -> Parsed<Vec<String>> {
    let list = texts(node, |_, text| if is_origin(&text) { Ok(text) } else { Err(not_an_origin(&text)) })?;
    if list.len() > 1 && list.iter().any(|origin| origin == "*") {
        return Err("\"*\" must stand alone: with it no origin gets credentials".to_owned());
    }
    Ok(list)
}

fn not_an_origin(text: &str) -> String {
    let shown = super::node::quoted(text);
    format!(
        "must be origins without a path, such as \"https://app.example.com\", \"https://*.example.com\" or \"*\"; {shown} is none"
    )
}

fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, host)) = text.split_once("://") else { return false };
    // The port follows the last colon, unless that stands inside an IPv6 literal.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let name = name.strip_prefix("*.").unwrap_or(name);
    let ipv6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name = match ipv6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)),
    };
    scheme && port && name
}
