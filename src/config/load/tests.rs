//! Tests of loading: precedence of the sources, and helpers for the other test modules.
#![allow(clippy::unwrap_used)]

mod auth_tables;
mod options;
mod problems;
mod readme;
mod secrets;
mod steps;

use super::*;
use crate::config::{BackplaneConfig, LogFormat, WebSocketOrigins, effective};
use crate::protocol::{Protocol, TransportKind};
use std::time::Duration;

/// Sources that do not depend on the process; `files` are pairs of path and text.
#[derive(Default)]
struct Given<'a> {
    flags: Flags,
    environment: &'a [(&'a str, &'a str)],
    files: &'a [(&'a str, &'a str)],
}

impl Given<'_> {
    fn load(&self) -> Result<LoadedConfig, ConfigError> {
        let environment: Vec<(String, String)> =
            self.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let read = |path: &Path| {
            let found = self.files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        load(&Sources { flags: &self.flags, environment: &environment, read: &read, check_connection: &checked })
    }
}

/// Replaces the parser of connection strings: one keyword is invalid, another has no effect.
fn checked(connection: &str) -> Result<Vec<String>, ConnectionStringError> {
    match connection {
        text if text.contains("twemproxy") => {
            Err(ConnectionStringError::new(vec![format!("first, in {text}"), "second".to_owned()]))
        }
        text if text.contains("syncTimeout") => Ok(vec!["syncTimeout has no effect".to_owned()]),
        _ => Ok(Vec::new()),
    }
}

/// Loads a file `hubplane.toml` without other sources.
fn file(text: &str) -> Result<LoadedConfig, ConfigError> {
    Given { files: &[("hubplane.toml", text)], ..Given::default() }.load()
}

/// Loads a file `hubplane.toml` and environment variables.
fn with_environment(environment: &[(&str, &str)], text: &str) -> Result<LoadedConfig, ConfigError> {
    Given { environment, files: &[("hubplane.toml", text)], ..Given::default() }.load()
}

/// The problems as they are printed.
fn problems(result: Result<LoadedConfig, ConfigError>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.problems.iter().map(ToString::to_string).collect(),
    }
}

fn origin_of(loaded: &LoadedConfig, key: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin.to_string()).unwrap()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_default_configuration_is_the_chat_of_the_design() {
    let loaded = Given::default().load().unwrap();
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = &loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(config.demo);
    assert_eq!(config.backplane, BackplaneConfig::Memory);
    let [hub] = config.hubs.as_slice() else { panic!("one hub") };
    assert_eq!((hub.name.as_str(), hub.path.as_str(), hub.backplane_name.as_str()), ("chat", "/chat", "chat"));
    // The file may have more methods; those of the design must be in it, word for word.
    let design = file(
        r#"
        [hubs.chat]
        on_connected    = [ { send = "UserConnected",    to = "others", args = ["{connection_id}"] } ]
        on_disconnected = [ { send = "UserDisconnected", to = "others", args = ["{connection_id}"] } ]
        [hubs.chat.methods.SendMessage]
        params = ["user", "message"]
        do = [ { send = "ReceiveMessage", to = "all", args = ["{user}", "{message}"] } ]
        [hubs.chat.methods.JoinRoom]
        params = ["room"]
        do = [
          { join = "{room}" },
          { send = "Notice", to = "group:{room}", args = ["{connection_id} joined {room}"] },
        ]
        [hubs.chat.methods.LeaveRoom]
        params = ["room"]
        do = [ { leave = "{room}" } ]
        [hubs.chat.methods.SendToRoom]
        params = ["room", "message"]
        do = [ { send = "ReceiveMessage", to = "group:{room}", except = ["{connection_id}"], args = ["{room}", "{message}"] } ]
        [hubs.chat.methods.Echo]
        params = ["value"]
        returns = "{value}"
        "#,
    );
    let design = &design.unwrap().config.hubs[0];
    assert_eq!((&hub.on_connected, &hub.on_disconnected), (&design.on_connected, &design.on_disconnected));
    for method in &design.methods {
        assert!(hub.methods.contains(method), "{}", method.name);
    }
}

/// The files contain each default as a comment. Uncommented, they must be valid and change nothing.
#[test]
fn the_commented_values_in_both_files_are_the_defaults() {
    for (name, source) in [("default", DEFAULT_CONFIG), ("redis", include_str!("../../../config/redis.toml"))] {
        let plain = file(source).unwrap();
        assert_eq!(plain.warnings, Vec::<String>::new(), "{name}");
        let mut count = 0;
        let lines: Vec<String> = source
            .lines()
            .map(|line| {
                let bare = line.strip_prefix("# ").unwrap_or(line);
                let key = bare
                    .split_once(" = ")
                    .is_some_and(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_lowercase()));
                let without_default = [
                    "connection",
                    "channel_prefix",
                    "keys",
                    "jwks_url",
                    "issuer",
                    "audience",
                    "user_id_claim",
                    "authorize",
                    "allowed_groups",
                ];
                let without_default = without_default.iter().any(|key| bare.starts_with(key));
                if line != bare && (key && !without_default || bare == "[backplane]" || bare == "[auth]") {
                    count += 1;
                    return bare.to_owned();
                }
                line.to_owned()
            })
            .collect();
        let full = file(&lines.join("\n")).unwrap();
        // Every option of a hub and the keys at the top level, except those that are set anyway.
        assert!(count >= 27, "{name}: only {count} commented keys");
        let values = |loaded: &LoadedConfig| -> Vec<(String, String)> {
            let all = loaded.settings.iter().filter(|setting| !setting.key.starts_with("hub_defaults."));
            all.map(|setting| (setting.key.clone(), setting.value.clone())).collect()
        };
        assert_eq!(values(&plain), values(&full), "{name}");
        let options = full.settings.iter().filter(|setting| setting.key.starts_with("hub_defaults.")).count();
        assert_eq!(options, crate::config::options::OPTIONS.len(), "{name}: each option is in a comment");
    }
}

#[test]
fn redis_toml_configures_a_replica() {
    let loaded = file(include_str!("../../../config/redis.toml")).unwrap();
    assert_eq!(loaded.config.listen.to_string(), "0.0.0.0:8080");
    assert!(matches!(loaded.config.backplane, BackplaneConfig::Redis { .. }));
    assert_eq!(loaded.config.hubs.len(), 1);
}

#[test]
fn a_higher_source_wins_for_each_key() {
    let source = "listen = \"127.0.0.1:1\"\nlog = \"warn\"\nmax_connections = 7\n[hubs.a]\n";
    let environment = [("HUBPLANE_LISTEN", "127.0.0.1:2"), ("HUBPLANE_LOG", "debug"), ("RUST_LOG", "trace")];
    let flags = Flags { listen: text("127.0.0.1:3"), ..Flags::default() };
    let files = [("hubplane.toml", source)];
    let loaded = Given { flags, environment: &environment, files: &files }.load().unwrap();
    assert_eq!(loaded.config.listen.port(), 3);
    assert_eq!(loaded.config.log, "debug");
    assert_eq!(loaded.config.max_connections, Some(7));
    assert!(!loaded.config.demo, "the demo page is off if a file is given");
    for (key, origin) in [
        ("listen", "--listen"),
        ("log", "HUBPLANE_LOG"),
        ("max_connections", "hubplane.toml:3"),
        ("drain_delay", "default"),
    ] {
        assert_eq!(origin_of(&loaded, key), origin);
    }
    let loaded = with_environment(&[("RUST_LOG", "trace")], source).unwrap();
    assert_eq!((loaded.config.log.as_str(), origin_of(&loaded, "log").as_str()), ("trace", "RUST_LOG"));
    let empty = [("RUST_LOG", ""), ("HUBPLANE_LOG", ""), ("HUBPLANE_LISTEN", "")];
    let loaded = with_environment(&empty, source).unwrap();
    assert_eq!(origin_of(&loaded, "log"), "hubplane.toml:2");
    assert_eq!(
        loaded.warnings,
        ["HUBPLANE_LISTEN", "HUBPLANE_LOG"]
            .map(|name| format!("{name}: is empty and treated as not set; an empty string is written \"\""))
    );
}

#[test]
fn the_file_comes_from_flag_then_variable_then_directory() {
    let files = [
        ("flag.toml", "log = \"error\"\n[hubs.a]"),
        ("variable.toml", "log = \"warn\"\n[hubs.a]"),
        ("hubplane.toml", "log = \"debug\"\n[hubs.a]"),
    ];
    let named = Flags { config: Some("flag.toml".into()), ..Flags::default() };
    let variable = [("HUBPLANE_CONFIG", "variable.toml")];
    let empty = [("HUBPLANE_CONFIG", "")];
    let level = |flags: &Flags, environment, files| {
        Given { flags: flags.clone(), environment, files }.load().unwrap().config.log
    };
    assert_eq!(level(&named, &variable, &files), "error");
    assert_eq!(level(&Flags::default(), &variable, &files), "warn");
    assert_eq!(level(&Flags::default(), &empty, &files), "debug");
    assert_eq!(level(&Flags::default(), &[], &[]), "info");
}

#[test]
fn every_key_is_read() {
    let loaded = file(
        r#"
        listen = "[::1]:9"
        demo = true
        log_format = "json"
        cors_origins = ["https://a.example", "https://*.b.example:8443", "http://[::1]:5"]
        max_connections = 0
        shutdown_timeout = "1m 5s"
        drain_delay = "0s"
        request_timeout = "500ms"
        auth.clock_skew = "1m"
        auth.keys = [{ algorithm = "HS256", secret = "a secret of thirty-two bytes ...." }]
        [hub_defaults]
        keep_alive_interval = "1s"
        outgoing_buffer_size = 0
        stateful_reconnect_buffer_size = 0
        [hubs.Chat]
        backplane_name = "Chat.Outer+Hub"
        protocols = ["messagepack"]
        transports = ["LongPolling", "websockets"]
        keep_alive_interval = "2s"
        detailed_errors = true
        minimum_protocol_version = 1
        [hubs.Other]
        path = "/x/Y/"
        "#,
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.cors_origins.len(), 3);
    assert_eq!(config.max_connections, None);
    assert_eq!(config.shutdown_timeout, Duration::from_secs(65));
    assert_eq!(config.request_timeout, Duration::from_millis(500));
    assert_eq!((config.auth.clock_skew, config.auth.keys.len()), (Duration::from_secs(60), 1));
    let [chat, other] = config.hubs.as_slice() else { panic!("two hubs") };
    assert_eq!((chat.path.as_str(), chat.backplane_name.as_str()), ("/Chat", "Chat.Outer+Hub"));
    assert_eq!(chat.options.protocols, [Protocol::MessagePack]);
    assert_eq!(chat.options.transports, [TransportKind::LongPolling, TransportKind::WebSockets]);
    assert_eq!(chat.options.keep_alive_interval, Duration::from_secs(2));
    assert!(chat.options.detailed_errors && !other.options.detailed_errors);
    assert_eq!(chat.options.minimum_protocol_version, 1);
    assert_eq!(other.path.as_str(), "/x/Y");
    assert_eq!(other.options.keep_alive_interval, Duration::from_secs(1));
    assert_eq!(other.options.outgoing_buffer_size, None);
    assert_eq!(other.options.stateful_reconnect_buffer_size, usize::MAX);
    assert_eq!(origin_of(&loaded, "hubs.Other.keep_alive_interval"), "hubplane.toml:13");
    assert_eq!(origin_of(&loaded, "hubs.Chat.keep_alive_interval"), "hubplane.toml:20");
}

#[test]
fn variables_are_toml_or_text_and_names_are_case_insensitive() {
    let source = "[hubs.Chat.methods.Echo]\nparams = [\"value\"]\nreturns = \"{value}\"\n[hubs.b]";
    let environment = [
        ("HUBPLANE_DEMO", "True"),
        ("HUBPLANE_MAX_CONNECTIONS", "1_000"),
        ("HUBPLANE_CORS_ORIGINS", "https://a.example, https://b.example"),
        ("HUBPLANE_WEBSOCKET_ORIGINS", "any"),
        ("HUBPLANE_BACKPLANE__CONNECTION", "redis:6379"),
        ("HUBPLANE_BACKPLANE__CHANNEL_PREFIX", "2024"),
        ("HUBPLANE_HUB_DEFAULTS__PROTOCOLS", "json"),
        ("HUBPLANE_HUBS__CHAT__TRANSPORTS", "[\"WebSockets\"]"),
        ("HUBPLANE_HUBS__CHAT__METHODS__ECHO__PARAMS", "a,b"),
        ("HUBPLANE_HUBS__chat__methods__echo__returns", "{b}"),
        ("HUBPLANE_HUBS__B", "{ path = \"/bee\", detailed_errors = true }"),
        ("HUBPLANE_HUBS__B__PATH", "/bumble"),
        ("HUBPLANE_HUBS__New__PATH", "/new"),
    ];
    let loaded = with_environment(&environment, source).unwrap();
    let config = &loaded.config;
    assert!(config.demo);
    assert_eq!(config.max_connections, Some(1000));
    let origins: Vec<String> = config.cors_origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.websocket_origins, WebSocketOrigins::Any);
    let prefix = text("2024");
    assert_eq!(
        config.backplane,
        BackplaneConfig::Redis { connection: "redis:6379".to_owned(), channel_prefix: prefix }
    );
    let [chat, b, new] = config.hubs.as_slice() else { panic!("three hubs") };
    assert_eq!((chat.name.as_str(), b.path.as_str(), new.name.as_str()), ("Chat", "/bumble", "New"));
    assert!(b.options.detailed_errors);
    assert_eq!(chat.options.protocols, [Protocol::Json]);
    assert_eq!(chat.options.transports, [TransportKind::WebSockets]);
    let [echo] = chat.methods.as_slice() else { panic!("one method") };
    assert_eq!((echo.name.as_str(), echo.params.len()), ("Echo", 2));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(origin_of(&loaded, "hubs.b.path"), "HUBPLANE_HUBS__B__PATH");
}

#[test]
fn unknown_variables_are_warnings() {
    let environment = [
        ("HUBPLANE_PORT", "tcp://10.0.0.1:80"),
        ("HUBPLANE_LISTN", "x"),
        ("HUBPLANE_BACKPLANE_CONNECTION", "x,password=hunter2"),
        ("HUBPLANE_HUBS__A__KEEPALIVE_INTERVAL", "x"),
        ("HUBPLANE_LISTEN__X", "x"),
        ("HUBPLANE_", "x"),
        ("HOME", "/"),
    ];
    let warnings = with_environment(&environment, "[hubs.a]").unwrap().warnings;
    let text = "no configuration key has this name, so it is ignored";
    assert_eq!(
        warnings,
        [
            format!("HUBPLANE_: {text}"),
            format!("HUBPLANE_BACKPLANE_CONNECTION: {text}; did you mean HUBPLANE_BACKPLANE__CONNECTION?"),
            format!("HUBPLANE_LISTN: {text}; did you mean HUBPLANE_LISTEN?"),
            format!("HUBPLANE_PORT: {text}"),
            format!("HUBPLANE_LISTEN__X: {text}"),
            format!(
                "HUBPLANE_HUBS__A__KEEPALIVE_INTERVAL: {text}; did you mean HUBPLANE_HUBS__A__KEEP_ALIVE_INTERVAL?"
            ),
        ]
    );
}

#[test]
fn websocket_origins_default_to_cors_origins() {
    let load = |text: &str| file(&format!("{text}\n[hubs.a]")).unwrap();
    let of_cors = |loaded: &LoadedConfig| loaded.hints.iter().any(|hint| hint.starts_with("websocket_origins: "));
    let listed = load("cors_origins = [\"https://a.example\"]");
    assert_eq!(listed.config.websocket_origins, WebSocketOrigins::Cors);
    assert!(of_cors(&listed) && listed.hints.iter().any(|hint| hint.contains("must pass Host on")), "{listed:?}");
    for other in ["", "cors_origins = [\"*\"]", "cors_origins = [\"https://a.example\"]\nwebsocket_origins = \"any\""] {
        let loaded = load(other);
        assert!(!of_cors(&loaded) && loaded.warnings.is_empty(), "{other}: {loaded:?}");
    }
    let warnings = load("websocket_origins = \"cors\"").warnings;
    let text =
        "hubplane.toml:1: websocket_origins: no effect while cors_origins is empty: every page may open WebSockets";
    assert_eq!(warnings, [text]);
}

#[test]
fn negotiate_version_0_is_a_hint() {
    let hinted = |text: &str| {
        let hints = file(text).unwrap().hints;
        let hint = hints.iter().find(|hint| hint.starts_with("minimum_protocol_version: ")).cloned();
        hint.and_then(|hint| hint.split_once("Affected hubs: ").map(|(_, hubs)| hubs.to_owned()))
    };
    assert_eq!(
        hinted("[hubs.a]\n[hubs.b]\nminimum_protocol_version = 1\n[hubs.\"c d\"]\npath = \"/c\""),
        text("a, \"c d\"")
    );
    assert_eq!(hinted("[hub_defaults]\nminimum_protocol_version = 1\n[hubs.a]"), None);
    assert_eq!(hinted("[hubs.a]\ntransports = [\"WebSockets\"]"), None);
}

#[test]
fn a_connection_overrides_type_memory_of_a_lower_source() {
    let memory = "[backplane]\ntype = \"memory\"\n[hubs.a]";
    let redis = "[backplane]\nconnection = \"low:1\"\n[hubs.a]";
    let address = |loaded: &LoadedConfig| match &loaded.config.backplane {
        BackplaneConfig::Memory => "memory".to_owned(),
        BackplaneConfig::Redis { connection, .. } => connection.clone(),
    };
    for (source, environment, flag, expected, origin) in [
        ("[hubs.a]", None, None, "memory", "default"),
        (memory, None, None, "memory", "hubplane.toml:2"),
        (redis, None, None, "low:1", "hubplane.toml:2"),
        (memory, Some(("HUBPLANE_BACKPLANE__CONNECTION", "high:1")), None, "high:1", "HUBPLANE_BACKPLANE__CONNECTION"),
        (memory, None, Some("flag:1"), "flag:1", "--redis"),
        (redis, None, Some("flag:1"), "flag:1", "--redis"),
        (redis, Some(("HUBPLANE_BACKPLANE__TYPE", "memory")), None, "memory", "HUBPLANE_BACKPLANE__TYPE"),
        (redis, Some(("HUBPLANE_BACKPLANE__TYPE", "redis")), None, "low:1", "HUBPLANE_BACKPLANE__TYPE"),
    ] {
        let environment: Vec<_> = environment.into_iter().collect();
        let flags = Flags { redis: flag.map(str::to_owned), ..Flags::default() };
        let files = [("hubplane.toml", source)];
        let loaded = Given { flags, environment: &environment, files: &files }.load().unwrap();
        assert_eq!(address(&loaded), expected);
        assert_eq!(origin_of(&loaded, "backplane.type"), origin, "{source}");
        // A warning says that a connection is not used.
        assert_eq!(loaded.warnings.len(), usize::from(source == redis && expected == "memory"), "{source}");
    }
}

#[test]
fn the_effective_configuration_loads_to_the_same_configuration() {
    let first = Given::default().load().unwrap();
    let printed = effective::print(&first);
    assert!(printed.lines().all(|line| line.contains("  # ")), "{printed}");
    let again = file(&printed).unwrap();
    let values = |loaded: &LoadedConfig| -> Vec<(String, String)> {
        loaded.settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    };
    assert_eq!(values(&first), values(&again));
    assert_eq!(printed, effective::print(&Given::default().load().unwrap()), "the text is the same each time");
}

#[test]
fn doubtful_settings_are_warnings() {
    for (source, part) in [
        ("[hubs.a]\nclient_timeout_interval = \"5s\"", "hubplane.toml:2: hubs.a.client_timeout_interval: clients ping"),
        (
            "[hub_defaults]\nkeep_alive_interval = \"31s\"\n[hubs.a]",
            "hubplane.toml:2: hub_defaults.keep_alive_interval:",
        ),
        ("drain_delay = \"30s\"\n[hubs.a]", "hubplane.toml:1: drain_delay: shutdown_timeout (30s) includes it"),
        (
            "[backplane]\nchannel_prefix = \"x\"\n[hubs.a]",
            "hubplane.toml:2: backplane.channel_prefix: no effect without",
        ),
        (
            "log = \"hubplane=debug,inof\"\n[hubs.a]",
            "hubplane.toml:1: log: \"inof\" is read as the name of a module; did you mean \"info\"?",
        ),
        (
            "[backplane]\nconnection = \"a:1,syncTimeout=5\"\n[hubs.a]",
            "hubplane.toml:2: backplane.connection: syncTimeout has no",
        ),
        ("", "hubs: no hub is declared"),
    ] {
        let warnings = file(source).unwrap().warnings;
        assert!(matches!(warnings.as_slice(), [one] if one.contains(part)), "{source}: {warnings:?}");
    }
}
