//! Tests of the command line: exit codes, output on stdout and stderr, and where the configuration is found.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

/// The exit code and the output of a run.
#[derive(Debug)]
struct Finished {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// An empty directory of its own for each test.
fn directory(test: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}-{}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs the binary in `directory` with these variables and no others.
fn hubplane(directory: &PathBuf, environment: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_hubplane"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn check_prints_the_effective_configuration() {
    let directory = directory("check");
    let ran = hubplane(&directory, &[], &["check"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let start = "# Configuration file: none (hubplane.toml does not exist); the built-in default is used\nlisten = ";
    assert!(ran.stdout.starts_with(start), "{}", ran.stdout);

    std::fs::write(directory.join("hubplane.toml"), "listen = \"127.0.0.1:7\"\n[hubs.news]\n").unwrap();
    let environment =
        [("HUBPLANE_BACKPLANE__CONNECTION", "db:6379,password=hunter2"), ("HUBPLANE_PORT", "tcp://10.0.0.1:80")];
    let ran = hubplane(&directory, &environment, &["--log", "debug", "check", "--channel-prefix", "x:"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (key, value, origin) in [
        ("listen", "\"127.0.0.1:7\"", "hubplane.toml:1"),
        ("demo", "false", "default"),
        ("log", "\"debug\"", "--log"),
        ("backplane.type", "\"redis\"", "HUBPLANE_BACKPLANE__CONNECTION"),
        ("backplane.connection", "\"db:6379,password=***\"", "HUBPLANE_BACKPLANE__CONNECTION"),
        ("backplane.channel_prefix", "\"x:\"", "--channel-prefix"),
        ("hubs.news.path", "\"/news\"", "default"),
    ] {
        let line = ran.stdout.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_default();
        let (left, right) = line.split_once("  # ").unwrap_or_default();
        assert_eq!((left.trim_end(), right), (format!("{key} = {value}").as_str(), origin), "{ran:?}");
    }
    assert!(ran.stderr.starts_with("warning: HUBPLANE_PORT: "), "{}", ran.stderr);
    assert!(!format!("{ran:?}").contains("hunter2"));
}

#[test]
fn an_invalid_configuration_exits_with_78_and_binds_nothing() {
    let directory = directory("wrong");
    // The test holds this port, so a server that tried to bind it would report that error instead.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("listen = \"{}\"\nlisten2 = 1\n[hubs.a]\npath = \"a\"\n", held.local_addr().unwrap());
    std::fs::write(directory.join("own.toml"), source).unwrap();
    let expected = "error: own.toml:4: hubs.a.path = \"a\": must begin with /\n\
                    error: own.toml:2: listen2: unknown key; did you mean `listen`?\n\
                    The configuration has 2 errors.\n";
    for arguments in [
        &["--config", "own.toml"][..],
        &["serve", "--config", "own.toml"],
        &["--config", "own.toml", "serve"],
        &["check", "--config", "own.toml"],
    ] {
        let ran = hubplane(&directory, &[], arguments);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(78), "", expected), "{arguments:?}");
    }
    let ran = hubplane(&directory, &[("HUBPLANE_CONFIG", "own.toml")], &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(78), expected));
    let ran = hubplane(&directory, &[], &["--config", "none.toml"]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.stderr.starts_with("error: --config: cannot read none.toml: "), "{ran:?}");
}

#[test]
fn an_invalid_connection_string_is_reported_with_other_problems() {
    let directory = directory("connection");
    let connection = "db:6379,password=hunter2,syncTimeout=500,ssl=perhaps,proxy=Twemproxy";
    let ran = hubplane(&directory, &[], &["--redis", connection, "--listen", "x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""), "{ran:?}");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    let shown = "error: --redis: backplane.connection = \"db:6379,password=***,";
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with(shown)).count(), 2, "{ran:?}");
    assert!(ran.stderr.contains("error: --listen: "), "{ran:?}");

    let ran = hubplane(&directory, &[], &["check", "--redis", "db:6379,password=hunter2,syncTimeout=500"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("warning: --redis: backplane.connection: ") && ran.stderr.contains("syncTimeout"));
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");

    // A starting server prints the note once. Nothing listens on port 1, and abortConnect=true ends the run.
    let connection = "127.0.0.1:1,connectRetry=1,abortConnect=true,syncTimeout=500";
    let ran = hubplane(&directory, &[], &["--redis", connection, "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stderr.matches("'syncTimeout'").count(), 1, "{ran:?}");
}

#[test]
fn version_and_help_are_printed() {
    let directory = directory("help");
    let ran = hubplane(&directory, &[], &["--version"]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("hubplane {}\n", env!("CARGO_PKG_VERSION"))));
    let ran = hubplane(&directory, &[], &["--help"]);
    assert_eq!(ran.code, Some(0));
    for part in [
        "[env: HUBPLANE_CONFIG] [default: ",
        "[env: HUBPLANE_LISTEN] [default: 127.0.0.1:8080]",
        "[env: HUBPLANE_BACKPLANE__CONNECTION] [default: ",
        "[env: HUBPLANE_BACKPLANE__CHANNEL_PREFIX] [default: ",
        "[env: HUBPLANE_LOG, then RUST_LOG] [default: info]",
        "[env: HUBPLANE_LOG_FORMAT] [default: text]",
        "healthcheck",
        "token",
        "check",
        "serve",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[test]
fn a_wrong_command_line_prints_no_secret() {
    let directory = directory("usage");
    for arguments in [
        &["a:1,password=hunter2"][..],
        &["--rediss", "a:1,password=hunter2"],
        &["--redis=a:1,password=hunter2", "redis://me:hunter2@b"],
        &["check", "--redis", "a:1", "--redis", "a:1,password=hunter2"],
    ] {
        let ran = hubplane(&directory, &[], arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

/// Starts a server for one request. It sends this answer; the thread returns the first line of the request.
fn answer(with: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(with.as_bytes()).unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap_or_default().to_owned()
    });
    (address, served)
}

#[test]
fn healthcheck_requests_the_health_pages() {
    let directory = directory("health");
    let well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let away = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"draining\"}";
    for (with, ready, code, page, printed) in [
        (well, false, 0, "/healthz", "200 OK: ok"),
        (well, true, 0, "/readyz", "200 OK: ok"),
        (away, true, 1, "/readyz", "503 Service Unavailable: {\"status\":\"draining\"}"),
        ("nonsense", false, 1, "/healthz", "the answer is not HTTP"),
    ] {
        // With a URL, with the configured address, and with an address that means all interfaces, for which the command
        // uses loopback.
        for way in 0..3 {
            let (address, served) = answer(with);
            let url = format!("http://{address}");
            let all = format!("0.0.0.0:{}", address.port());
            let listen = if way == 1 { address.to_string() } else { all };
            let mut arguments = vec!["healthcheck"];
            if ready {
                arguments.push("--ready");
            }
            if way == 0 {
                arguments.extend(["--url", &url]);
            }
            let ran = hubplane(&directory, &[("HUBPLANE_LISTEN", &listen)], &arguments);
            let line = format!("{url}{page}: {printed}\n");
            let (said, silent) = if code == 0 { (&ran.stdout, &ran.stderr) } else { (&ran.stderr, &ran.stdout) };
            assert_eq!((ran.code, said, silent.as_str()), (Some(code), &line, ""), "{ran:?}");
            assert_eq!(served.join().unwrap(), format!("GET {page} HTTP/1.1"));
        }
    }
}

#[test]
fn healthcheck_without_a_server_fails_with_one_line() {
    let directory = directory("nobody");
    // A reserved port, on which no other test can be listening.
    let ran = hubplane(&directory, &[], &["healthcheck", "--url", "http://127.0.0.1:1"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (Some(1), "", 1), "{ran:?}");
    let ran = hubplane(&directory, &[("HUBPLANE_LISTEN", "x")], &["healthcheck"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{ran:?}");
}
