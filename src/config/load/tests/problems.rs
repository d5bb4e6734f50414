//! Tests of error texts, and of the places that they name.

use super::*;

/// Asserts that `source` has exactly one problem, with this text.
#[track_caller]
fn expect_problem(source: &str, expected: &str) {
    assert_eq!(problems(file(source)), [expected], "{source}");
}

// The log filter is only checked with the feature `cli`, which sets up the log.
#[cfg(feature = "cli")]
#[test]
fn invalid_top_level_values_are_refused() {
    let address = "must be an IP address and a port: \"127.0.0.1:80\" for this machine only, \"0.0.0.0:80\" or \
                   \"[::]:80\" for all";
    let duration = "must be a duration: a string with a unit, such as \"15s\", \"500ms\" or \"1m 30s\"";
    let origins =
        "must be origins without a path, such as \"https://app.example.com\", \"https://*.example.com\" or \"*\"";
    for (line, expected) in [
        ("listen = \"localhost:80\"", address.to_owned()),
        ("listen = 80", "must be a string, not an integer".to_owned()),
        ("demo = \"yes\"", "must be true or false".to_owned()),
        ("log = \"x=loud\"", "must be a filter in the syntax of RUST_LOG: \"info\", or \"info,hubplane=debug\"".to_owned()),
        ("log = \"\"", "must not be empty; \"off\" silences the log".to_owned()),
        ("log_format = \"xml\"", "must be \"text\" or \"json\"".to_owned()),
        ("max_connections = -1", "must be an integer of 0 (unlimited) or more".to_owned()),
        ("max_connections = 1.5", "must be an integer of 0 (unlimited) or more".to_owned()),
        ("max_connections = \"1\"", "must be an integer of 0 (unlimited) or more".to_owned()),
        ("shutdown_timeout = 30", duration.to_owned()),
        ("shutdown_timeout = \"30\"", duration.to_owned()),
        ("shutdown_timeout = \"0s\"", "must be longer than zero".to_owned()),
        ("request_timeout = \"1000years\"", "must be at most a year".to_owned()),
        ("cors_origins = \"*\"", "must be a list of strings, not a string".to_owned()),
        ("cors_origins = [1]", "must be a string, not an integer".to_owned()),
        ("cors_origins = [\"https://a.*.example\"]", format!("{origins}; \"https://a.*.example\" is not one")),
        ("cors_origins = [\"null\"]", format!("{origins}; \"null\" is not one")),
        (
            "cors_origins = [\"https://b.example\", \"https://a.example:443\"]",
            "must be written as browsers send it: \"https://a.example\", not \"https://a.example:443\"".to_owned(),
        ),
        (
            "cors_origins = [\"https://*.münchen.example/\"]",
            "must be written as browsers send it: \"https://*.xn--mnchen-3ya.example\", not \"https://*.münchen.example/\""
                .to_owned(),
        ),
        ("websocket_origins = \"all\"", "must be \"cors\" or \"any\"".to_owned()),
        (
            "cors_origins = [\"*\", \"https://a.example\"]",
            "\"*\" must be the only entry: with it, no origin gets credentials".to_owned(),
        ),
        ("backplane = 1", "must be a table, not an integer".to_owned()),
    ] {
        expect_problem(&format!("# a comment\n{line}\n[hubs.a]"), &format!("hubplane.toml:2: {line}: {expected}"));
    }
}

#[test]
fn a_password_in_an_origin_is_masked() {
    let shown = "hubplane.toml:1: cors_origins = [\"https://ann:***@a.example\"]";
    let source = "cors_origins = [\"https://ann:hunter2@a.example\"]\n[hubs.a]";
    expect_problem(source, &format!("{shown}: must be written as browsers send it: \"https://a.example\""));
}

#[test]
fn invalid_option_values_are_refused() {
    let duration = "must be a duration: a string with a unit, such as \"15s\", \"500ms\" or \"1m 30s\"";
    for (line, expected) in [
        ("keep_alive_interval = 15", duration),
        ("keep_alive_interval = \"0ms\"", "must be longer than zero"),
        ("maximum_parallel_invocations_per_client = 0", "must be an integer of 1 or more"),
        ("stream_buffer_capacity = 0", "must be an integer of 1 or more"),
        ("minimum_protocol_version = 2", "must be 0 or 1, the existing versions of negotiate"),
        ("protocols = []", "must name at least one of \"json\" or \"messagepack\""),
        ("protocols = [\"jsn\"]", "must be a list of \"json\" or \"messagepack\"; did you mean \"json\"?"),
        ("protocols = [\"json\", \"JSON\"]", "names \"JSON\" twice"),
        ("transports = [\"sse\"]", "must be a list of \"WebSockets\", \"ServerSentEvents\" or \"LongPolling\""),
    ] {
        for table in ["hub_defaults", "hubs.a"] {
            let source = format!("[{table}]\n{line}\n[hubs.b]");
            expect_problem(&source, &format!("hubplane.toml:2: {table}.{line}: {expected}"));
        }
    }
}

#[test]
fn unknown_keys_suggest_the_nearest_known_one() {
    for (source, expected) in [
        ("lisen = \"x\"\n[hubs.a]", "hubplane.toml:1: lisen: unknown key; did you mean `listen`?"),
        (
            "[hubs.a]\n\nkeep_alive_intervall = \"1s\"",
            "hubplane.toml:3: hubs.a.keep_alive_intervall: unknown key; did you mean `keep_alive_interval`?",
        ),
        (
            "[hubs.a]\nkeep_alive = \"1s\"",
            "hubplane.toml:2: hubs.a.keep_alive: unknown key; did you mean `keep_alive_interval`?",
        ),
        ("[hubs.a]\nPath = \"/x\"", "hubplane.toml:2: hubs.a.Path: unknown key; did you mean `path`?"),
        ("[hub.a]\n[hubs.a]", "hubplane.toml:1: hub: unknown key; did you mean `hubs`?"),
        (
            "[hubs.a]\n[backplane]\npassword = \"hunter2\"",
            "hubplane.toml:3: backplane.password: unknown key; known: type, connection, channel_prefix",
        ),
        (
            "[backplane]\nconection = \"a:1\"\n[hubs.a]",
            "hubplane.toml:2: backplane.conection: unknown key; did you mean `connection`?",
        ),
        (
            "keep_alive_interval = \"1s\"\n[hubs.a]",
            "hubplane.toml:1: keep_alive_interval: unknown key here; did you mean `hub_defaults.keep_alive_interval`?",
        ),
        (
            "channel_prefix = \"x\"\n[hubs.a]",
            "hubplane.toml:1: channel_prefix: unknown key here; did you mean `backplane.channel_prefix`?",
        ),
        ("[hub_defaults]\npath = \"/\"\n[hubs.a]", "hubplane.toml:2: hub_defaults.path: unknown key; known: "),
        (
            "[hubs.a.methods.M]\nreturn = 1\ndo = [{ join = \"g\" }]",
            "hubplane.toml:2: hubs.a.methods.M.return: unknown key; did you mean `returns`?",
        ),
    ] {
        let found = problems(file(source));
        assert!(matches!(found.as_slice(), [one] if one.starts_with(expected)), "{source}: {found:?}");
    }
}

#[test]
fn duplicate_paths_and_names_are_refused() {
    let page = "is a page of the server itself; choose another path";
    for (source, expected) in [
        ("[hubs.a]\npath = \"/X\"\n[hubs.b]\npath = \"/x/\"", "hubplane.toml:4: hubs.b.path: \"/x\" is also the path of the hub \"a\"; each hub needs its own".to_owned()),
        ("[hubs.a]\n[hubs.b]\npath = \"/A\"", "hubplane.toml:3: hubs.b.path: \"/A\" is also the path of the hub \"a\"; each hub needs its own".to_owned()),
        ("[hubs.a]\n[hubs.b]\npath = \"/a/negotiate\"", "hubplane.toml:3: hubs.b.path: \"/a/negotiate\" collides with the negotiate address of the hub \"a\"".to_owned()),
        ("[hubs.a]\npath = \"/Healthz\"", format!("hubplane.toml:2: hubs.a.path: \"/Healthz\" {page}")),
        ("[hubs.readyz]", format!("hubplane.toml:1: hubs.readyz.path: \"/readyz\" {page}")),
        ("[hubs.a]\npath = \"/metrics\"", format!("hubplane.toml:2: hubs.a.path: \"/metrics\" {page}")),
        ("demo = true\n[hubs.a]\npath = \"/\"", "hubplane.toml:3: hubs.a.path: \"/\" is the demo page while `demo` is true; choose another path or set demo = false".to_owned()),
        ("[hubs.a]\npath = \"chat\"", "hubplane.toml:2: hubs.a.path = \"chat\": must begin with /".to_owned()),
        ("[hubs.a]\npath = \"/{x}\"", "hubplane.toml:2: hubs.a.path = \"/{x}\": must be a plain URL path; '{' is not allowed in it".to_owned()),
        ("[hubs.a]\npath = \"/x?y\"", "hubplane.toml:2: hubs.a.path = \"/x?y\": must be a plain URL path; '?' is not allowed in it".to_owned()),
        ("[hubs.a]\npath = \"//x\"", "hubplane.toml:2: hubs.a.path = \"//x\": must not contain //".to_owned()),
        ("[hubs.\"a b\"]", "hubplane.toml:1: hubs.\"a b\".path: the hub's name cannot be a path (\"/a b\": must be a plain URL path; ' ' is not allowed in it); set one".to_owned()),
        ("[hubs.a]\n[hubs.b]\nbackplane_name = \"a\"", "hubplane.toml:3: hubs.b.backplane_name: \"a\" is also the name of the hub \"a\"".to_owned()),
        ("[hubs.a]\nbackplane_name = \"\"", "hubplane.toml:2: hubs.a.backplane_name = \"\": must not be empty".to_owned()),
        ("[hubs.a]\n[hubs.A]", "hubplane.toml:2: hubs.A: differs from the hub \"a\" only in case".to_owned()),
    ] {
        expect_problem(source, &expected);
    }
    assert_eq!(
        problems(file("[hubs.a]\npath = \"/\"")),
        Vec::<String>::new(),
        "the path is free without the demo page"
    );
}

#[test]
fn invalid_backplane_values_are_refused() {
    for (source, expected) in [
        (
            "[backplane]\ntype = \"Redis\"\n[hubs.a]",
            "hubplane.toml:2: backplane.type = \"Redis\": must be \"memory\" or \"redis\"",
        ),
        (
            "[backplane]\ntype = \"redis\"\n[hubs.a]",
            "hubplane.toml:2: backplane.connection: required with type = \"redis\": a connection string such as \"localhost:6379\"",
        ),
        (
            "[backplane]\ntype = \"memory\"\nconnection = \"a:1\"\n[hubs.a]",
            "hubplane.toml:2: backplane.type = \"memory\": contradicts backplane.connection (hubplane.toml:3); keep one of them",
        ),
        (
            "[backplane]\nconnection = \"\"\n[hubs.a]",
            "hubplane.toml:2: backplane.connection = \"\": must not be empty; remove the key to run without Redis",
        ),
        (
            "[backplane]\nconnection = 6379\n[hubs.a]",
            "hubplane.toml:2: backplane.connection: must be a connection string such as \"localhost:6379\", not an integer",
        ),
        (
            "[backplane]\nconnection = \"a:1\"\nchannel_prefix = 7\n[hubs.a]",
            "hubplane.toml:3: backplane.channel_prefix = 7: must be a string, not an integer",
        ),
    ] {
        expect_problem(source, expected);
    }
    let wrong = "hubplane.toml:2: backplane.connection = \"a:1,password=***,proxy=twemproxy\"";
    assert_eq!(
        problems(file("[backplane]\nconnection = \"a:1,password=hunter2,proxy=twemproxy\"\n[hubs.a]\npath = \"x\"")),
        [
            format!("{wrong}: first, in a:1,password=***,proxy=twemproxy"),
            format!("{wrong}: second"),
            "hubplane.toml:4: hubs.a.path = \"x\": must begin with /".to_owned(),
        ]
    );
    let both = [("HUBPLANE_BACKPLANE__TYPE", "memory"), ("HUBPLANE_BACKPLANE__CONNECTION", "a:1")];
    let text = "HUBPLANE_BACKPLANE__TYPE: backplane.type = \"memory\": contradicts backplane.connection \
                (HUBPLANE_BACKPLANE__CONNECTION); keep one of them";
    assert_eq!(problems(with_environment(&both, "[hubs.a]")), [text]);
}

#[cfg(feature = "cli")]
#[test]
fn errors_name_the_flag_or_variable() {
    let flags = Flags { listen: text("here"), log_format: text("xml"), log: text("=,="), ..Flags::default() };
    let environment = [
        ("HUBPLANE_DEMO", "perhaps"),
        ("HUBPLANE_HUBS__CHAT__KEEP_ALIVE_INTERVAL", "5"),
        ("HUBPLANE_max_connections", "1"),
        ("HUBPLANE_MAX_CONNECTIONS", "2"),
        ("HUBPLANE_REQUEST_TIMEOUT", "\u{FFFD}"),
    ];
    let found = problems(Given { flags, environment: &environment, ..Given::default() }.load());
    let starts = [
        "HUBPLANE_REQUEST_TIMEOUT: request_timeout: the variable must be UTF-8",
        "HUBPLANE_max_connections: max_connections: the same key is set by HUBPLANE_MAX_CONNECTIONS; keep one",
        "--listen: listen = \"here\": must be an IP address",
        "HUBPLANE_DEMO: demo = \"perhaps\": must be true or false",
        "--log: log = \"=,=\": must be a filter",
        "--log-format: log_format = \"xml\": must be",
        "HUBPLANE_HUBS__CHAT__KEEP_ALIVE_INTERVAL: hubs.chat.keep_alive_interval = 5: must be a duration",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn unreadable_files_are_errors() {
    let missing = Flags { config: Some("none.toml".into()), listen: text("x"), ..Flags::default() };
    let found = problems(Given { flags: missing, ..Given::default() }.load());
    assert!(found[0].starts_with("--config: cannot read none.toml: "), "{found:?}");
    assert!(found[1].starts_with("--listen: "), "other sources are still checked: {found:?}");
    assert_eq!(found.len(), 2);

    let environment = [("HUBPLANE_CONFIG", "none.toml")];
    let found = problems(Given { environment: &environment, ..Given::default() }.load());
    assert!(found[0].starts_with("HUBPLANE_CONFIG: cannot read none.toml: "), "{found:?}");

    let flags = Flags::default();
    for (kind, part) in
        [(io::ErrorKind::PermissionDenied, "permission denied"), (io::ErrorKind::InvalidData, "not UTF-8")]
    {
        let read = |_: &Path| Err(io::Error::from(kind));
        let found =
            problems(load(&Sources { flags: &flags, environment: &[], read: &read, check_connection: &checked }));
        assert!(found[0].starts_with("cannot read hubplane.toml: ") && found[0].contains(part), "{found:?}");
    }
}

#[test]
fn invalid_toml_is_reported_by_line() {
    let found = problems(file("listen = \n[hubs.a]\npath = \"/x\npassword = \"hunter2\"\n"));
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("hubplane.toml:1: this is not TOML: "), "{found:?}");
    assert!(found[1].starts_with("hubplane.toml:3: this is not TOML: "), "{found:?}");
    let found = problems(file("[hubs.a]\r\npath = \"/x\"\r\npath = \"/y\"\r\n"));
    assert!(matches!(found.as_slice(), [one] if one.starts_with("hubplane.toml:3: ")), "{found:?}");
    // Lone surrogates are not Unicode text and are refused everywhere; clients never receive one.
    for line in [r#"args = ["\uD83D"]"#, r#"args = [{ "\uDE00" = 1 }]"#, r#"send = "\U0000D83D""#] {
        let step = format!("[hubs.a.methods.M]\ndo = [{{ {line} }}]");
        let found = problems(file(&step));
        assert!(found[0].starts_with("hubplane.toml:2: this is not TOML: "), "{line}: {found:?}");
    }
    // A byte order mark is allowed.
    assert_eq!(problems(file("\u{FEFF}[hubs.a]")), Vec::<String>::new());
}
