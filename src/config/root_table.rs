//! Reads the merged tree: the keys at the top level, the backplane, authentication, then the hubs.

use super::auth_tables::{ReadFile, read_auth};
use super::hub_tables::read_hubs;
use super::load::CheckConnection;
use super::mask;
use super::node::{ConfigNode, ConfigValue, Origin};
use super::options::{self, OptionsWithOrigins};
use super::parse;
use super::problem::{Problem, nearest};
use super::reader::{ConfigReader, TableReader};
use super::{BackplaneConfig, Config, HubConfig, WebSocketOrigins, key_names};
use crate::protocol::TransportKind;

const LOG_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Reads everything. Problems, warnings and settings are collected in `reader`; if there are problems, the result must
/// not be used.
pub(super) fn read(
    reader: &mut ConfigReader,
    root: ConfigNode,
    check_connection: &CheckConnection<'_>,
    read_file: &ReadFile<'_>,
) -> Config {
    let mut top = reader.table(Some(root), String::new());
    let default = Config::default();
    let by_default = Origin::Default;
    macro_rules! take {
        ($key:ident, $parse:expr) => {
            reader.take(&mut top, stringify!($key), (default.$key.clone(), by_default.clone()), $parse)
        };
    }
    let (listen, _) = take!(listen, parse::address);
    let (demo, _) = take!(demo, parse::boolean);
    let (log, log_origin) = take!(log, parse::log_filter);
    let (log_format, _) = take!(log_format, parse::log_format);
    let (cors_origins, _) = take!(cors_origins, parse::cors_origins);
    let (websocket_origins, websocket_origin) = take!(websocket_origins, parse::websocket_origins);
    let (max_connections, _) = take!(max_connections, parse::size);
    let (shutdown_timeout, _) = take!(shutdown_timeout, parse::positive_duration);
    let (drain_delay, drain_origin) = take!(drain_delay, parse::duration);
    let (request_timeout, _) = take!(request_timeout, parse::positive_duration);
    // A misspelt level is a valid filter, but only for a module of that name.
    for word in
        log.split(',').map(str::trim).filter(|word| !LOG_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)))
    {
        if let Some(level) = nearest(word, LOG_LEVELS.iter().copied()) {
            let word = super::node::quoted(word);
            reader
                .warnings
                .push(format!("{log_origin}: log: {word} is read as the name of a module; did you mean \"{level}\"?"));
        }
    }
    if cors_origins.is_empty() && websocket_origin != Origin::Default {
        let text = "no effect while cors_origins is empty: every page may open WebSockets";
        reader.warnings.push(format!("{websocket_origin}: websocket_origins: {text}"));
    }
    if websocket_origins == WebSocketOrigins::Cors && cors_origins.iter().any(|origin| !origin.is_any()) {
        reader.hints.push(
            "websocket_origins: pages of cors_origins may open WebSockets, and so may pages of this server itself, whose \
             Origin matches Host: a reverse proxy must pass Host on unchanged, with its port"
                .to_owned(),
        );
    }
    if drain_delay >= shutdown_timeout {
        reader.warnings.push(format!(
            "{drain_origin}: drain_delay: shutdown_timeout ({}) includes it, so clients get no time to disconnect",
            humantime::format_duration(shutdown_timeout)
        ));
    }
    let node = top.remove("backplane");
    let table = reader.table(node, "backplane".to_owned());
    let backplane = read_backplane(reader, table, check_connection);

    let node = top.remove("auth");
    // Invalid keys are reported; a rule that needs keys need not be reported as well.
    let checked = has_keys(node.as_ref());
    let auth = read_auth(reader, node, read_file);

    let node = top.remove("hub_defaults");
    let mut table = reader.table(node, "hub_defaults".to_owned());
    let first = reader.settings.len();
    let defaults = options::read(reader, &mut table, &OptionsWithOrigins::default(), checked);
    reader.finish(table, options::OPTIONS);
    // The settings of each hub list all options; here only those that were set are of interest.
    let mut index = 0;
    reader.settings.retain(|setting| {
        index += 1;
        index <= first || setting.origin != Origin::Default
    });

    let node = top.remove("hubs");
    let hubs = read_hubs(reader, node, &defaults, demo, checked);
    // The id of a connection with an open WebSocket gives no access to it.
    let at_risk = |hub: &&HubConfig| {
        hub.options.minimum_protocol_version < 1
            && hub.options.transports.iter().any(|kind| *kind != TransportKind::WebSockets)
    };
    let at_risk: Vec<String> = hubs.iter().filter(at_risk).map(|hub| super::node::quoted_key(&hub.name)).collect();
    if !at_risk.is_empty() {
        reader.hints.push(format!(
            "minimum_protocol_version: a client that negotiates version 0 (SECURITY.md lists some) has a single id, which \
             other clients may know and could use in its place; set it to 1 if all clients support version 1. Affected \
             hubs: {}",
            at_risk.join(", ")
        ));
    }
    if hubs.is_empty() {
        reader.warnings.push("hubs: no hub is declared, so clients have nothing to connect to".to_owned());
    }
    reader.finish(top, key_names::TOP_LEVEL);
    Config {
        listen,
        demo,
        log,
        log_format,
        cors_origins,
        websocket_origins,
        max_connections,
        shutdown_timeout,
        drain_delay,
        request_timeout,
        backplane,
        auth,
        hub_defaults: defaults.values,
        hubs,
    }
}

/// Whether `[auth]` contains keys to check tokens with.
fn has_keys(auth: Option<&ConfigNode>) -> bool {
    match auth.map(|node| &node.value) {
        Some(ConfigValue::Table(entries)) => {
            entries.iter().any(|entry| matches!(entry.key.as_str(), "keys" | "jwks_url"))
        }
        _ => false,
    }
}

/// Reads `[backplane]`. A connection implies Redis, and overrides `type = "memory"` of a lower source.
fn read_backplane(reader: &mut ConfigReader, mut table: TableReader, check: &CheckConnection<'_>) -> BackplaneConfig {
    let key = |name: &str| format!("backplane.{name}");
    let kind = table.remove("type");
    let connection = table.remove("connection");
    let prefix = table.remove("channel_prefix");
    reader.finish(table, key_names::BACKPLANE);

    let memory = match kind.as_ref().map(|node| (node, node.as_text())) {
        Some((_, Some("memory"))) => Some(true),
        Some((_, Some("redis"))) => Some(false),
        Some((node, _)) => {
            reader.problem(key("type"), node, "must be \"memory\" or \"redis\"");
            return BackplaneConfig::Memory;
        }
        None => None,
    };
    let layer = |node: &Option<ConfigNode>| node.as_ref().map_or(0, |node| node.origin.layer());
    let redis = match memory {
        Some(true) => connection.is_some() && layer(&connection) > layer(&kind),
        Some(false) => true,
        None => connection.is_some(),
    };
    let shown = if redis { "\"redis\"" } else { "\"memory\"" };
    let origin = match (&kind, &connection) {
        (Some(kind), _) if redis != (memory == Some(true)) => kind.origin.clone(),
        (_, Some(connection)) if redis => connection.origin.clone(),
        _ => Origin::Default,
    };
    reader.note(key("type"), shown.to_owned(), origin);

    let connection = connection.map(|node| {
        let text = match &node.value {
            ConfigValue::Table(_) | ConfigValue::List(_) => None,
            _ => node.as_text(),
        };
        match text.map(str::trim) {
            Some("") => {
                reader.problem(key("connection"), &node, "must not be empty; remove the key to run without Redis");
            }
            Some(text) => {
                reader.note(key("connection"), super::node::quoted(text), node.origin.clone());
                let place = format!("{}: backplane.connection", node.origin);
                if !redis {
                    reader.warnings.push(format!("{place}: no effect: type is memory"));
                    return text.to_owned();
                }
                match check(text) {
                    Ok(notes) => {
                        reader.warnings.extend(notes.iter().map(|note| mask::mask(&format!("{place}: {note}"))));
                    }
                    Err(error) => {
                        for problem in error.problems() {
                            reader.problem(key("connection"), &node, problem);
                        }
                    }
                }
                return text.to_owned();
            }
            None => {
                let text = format!("must be a connection string such as \"localhost:6379\", not {}", node.kind());
                reader.problems.push(Problem::of_key(key("connection"), Some(node.origin.clone()), text));
            }
        }
        // This has been reported; the empty text prevents a second report that the connection is missing.
        String::new()
    });
    let channel_prefix = prefix.and_then(|node| match parse::text(&node) {
        Ok(text) => {
            reader.note(key("channel_prefix"), super::node::quoted(&text), node.origin.clone());
            if !redis {
                reader.warnings.push(format!("{}: backplane.channel_prefix: no effect without Redis", node.origin));
            }
            Some(text)
        }
        Err(expected) => {
            reader.problem(key("channel_prefix"), &node, expected);
            None
        }
    });
    match (redis, connection) {
        (false, _) => BackplaneConfig::Memory,
        (true, Some(connection)) => BackplaneConfig::Redis { connection, channel_prefix },
        (true, None) => {
            let origin = kind.map(|node| node.origin);
            let text = "required with type = \"redis\": a connection string such as \"localhost:6379\"";
            reader.problems.push(Problem::of_key(key("connection"), origin, text));
            BackplaneConfig::Memory
        }
    }
}

/// Reports a source that contains both `type = "memory"` and a connection.
pub(super) fn check_source(source: &ConfigNode, problems: &mut Vec<Problem>) {
    let child = |node: &ConfigNode, key: &str| match &node.value {
        ConfigValue::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.node.clone()),
        _ => None,
    };
    let Some(backplane) = child(source, "backplane") else { return };
    let (Some(kind), Some(connection)) = (child(&backplane, "type"), child(&backplane, "connection")) else { return };
    if kind.as_text() == Some("memory") {
        let text = format!("contradicts backplane.connection ({}); keep one of them", connection.origin);
        problems.push(Problem::of("backplane.type", &kind, text));
    }
}
