//! Starts the built binary as a child process on a port of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use testkit::http::{self, Response};
use testkit::log::Log;
use testkit::{PROCESS_TIMEOUT, Redis, TIMEOUT, metrics, signal, unique, until};

/// How to start a server.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    config: Option<String>,
    open_files: Option<u32>,
    env: Vec<(String, String)>,
}

impl Setup {
    /// Sets an environment variable; the name is given without `HUBPLANE_`.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((format!("HUBPLANE_{name}"), value.into()));
        self
    }

    /// Uses this configuration file instead of the built-in configuration.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Limits the number of open files (the soft and the hard limit).
    pub(crate) fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Uses this Redis, with timeouts that a slow machine does not exceed.
    pub(crate) fn redis(self, redis: &Redis) -> Self {
        self.env("BACKPLANE__CONNECTION", redis.connection())
    }

    /// Uses this Redis with the default timeouts, for tests of outages.
    pub(crate) fn redis_with_defaults(self, redis: &Redis) -> Self {
        self.env("BACKPLANE__CONNECTION", redis.connection_with_defaults())
    }

    /// Starts the server, and returns when it is listening; it need not be ready.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let (mut server, urls) = self.spawn();
        while server.address.port() == 0 {
            match urls.recv_timeout(PROCESS_TIMEOUT) {
                Ok(line) => server.address = address_in(&line).unwrap_or(server.address),
                Err(_) => panic!("no URL on stdout; its log:\n{}", server.log()),
            }
        }
        server
    }

    /// Starts a server that is expected to exit, and returns its exit code and its log.
    #[track_caller]
    pub(crate) fn ends(self) -> (Option<i32>, String) {
        let (mut server, _urls) = self.spawn();
        let code = server.exit(PROCESS_TIMEOUT);
        (code, server.log())
    }

    fn spawn(self) -> (Server, mpsc::Receiver<String>) {
        let folder = std::env::temp_dir().join(unique("hubplane-it"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("sh");
        let limit = self.open_files.map(|most| format!("ulimit -n {most}; ")).unwrap_or_default();
        command.args(["-c", &format!("{limit}exec \"$0\""), env!("CARGO_BIN_EXE_hubplane")]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HUBPLANE_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.current_dir(&folder).env("HUBPLANE_LISTEN", "127.0.0.1:0").env("HUBPLANE_LOG", "info").envs(self.env);
        if let Some(text) = self.config {
            std::fs::write(folder.join("hubplane.toml"), text).unwrap();
        }
        let log = folder.join("log");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("the binary starts");
        let (printed, urls) = mpsc::channel();
        let out = child.stdout.take().unwrap();
        thread::spawn(move || lines(out, |line| drop(printed.send(line))));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        (Server { child: Some(child), address, log: Log::File(log), folder }, urls)
    }
}

/// The address of the first `http://` URL in a line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("http://")?.1;
    let host = rest.split(['/', ' ']).next()?;
    host.replace("localhost", "127.0.0.1").parse().ok()
}

fn lines(source: impl Read, mut each: impl FnMut(String)) {
    for line in BufReader::new(source).lines().map_while(Result::ok) {
        each(line);
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    log: Log,
    folder: PathBuf,
}

impl Server {
    pub(crate) fn setup() -> Setup {
        Setup::default()
    }

    /// Starts a server with the built-in configuration. With `HUBPLANE_TEST_BASE` (such as `127.0.0.1:5000`) it uses
    /// the server at that address instead, which must offer the same chat, so that the tests can be run against ASP.NET
    /// Core.
    #[track_caller]
    pub(crate) fn start() -> Self {
        match std::env::var("HUBPLANE_TEST_BASE") {
            Ok(address) => {
                let address = address.parse().unwrap();
                Self { child: None, address, log: Log::default(), folder: PathBuf::new() }
            }
            Err(_) => Self::setup().start().ready(),
        }
    }

    /// Starts a server on this Redis.
    #[track_caller]
    pub(crate) fn on(redis: &Redis) -> Self {
        Self::setup().redis(redis).start().ready()
    }

    /// Waits until `/readyz` reports that the server is ready.
    #[track_caller]
    pub(crate) fn ready(self) -> Self {
        self.expect_ready(200, PROCESS_TIMEOUT);
        self
    }

    #[track_caller]
    pub(crate) fn expect_ready(&self, status: u16, patience: Duration) {
        until(&format!("/readyz answers {status}"), patience, || (self.get("/readyz").status == status).then_some(()));
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        http::ask(self.address, &format!("GET {path}"), b"")
    }

    /// The sum of all samples of a metric whose lines contain all these texts.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metrics::sum(&self.get("/metrics").text(), name, labels)
    }

    /// Everything that the server has written to stderr.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// How many log lines contain this text.
    pub(crate) fn logged(&self, part: &str) -> usize {
        self.log.count(part)
    }

    /// Waits until `times` log lines contain this text, and checks that there are not more. The server logs before it
    /// answers, so lines that belong to an answer are there already.
    #[track_caller]
    pub(crate) fn expect_logged(&self, part: &str, times: usize) {
        self.log.wait(part, times);
        assert_eq!(self.logged(part), times, "log lines with {part:?}:\n{}", self.log());
    }

    /// Waits until the sum of all samples of a metric has this value.
    #[track_caller]
    pub(crate) fn expect_metric(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), TIMEOUT, || (self.metric(name, &[]) == value).then_some(()));
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.child.as_ref().unwrap().id());
    }

    /// Waits until the process ends, and returns its exit code.
    #[track_caller]
    pub(crate) fn exit(&mut self, patience: Duration) -> Option<i32> {
        let child = self.child.as_mut().unwrap();
        until("the server ends", patience, || child.try_wait().unwrap()).code()
    }

    pub(crate) fn running(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_none())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
            if thread::panicking() {
                let log = self.log();
                let lines: Vec<_> = log.lines().rev().take(30).collect();
                eprintln!("---- log of {} ----", self.address);
                lines.iter().rev().for_each(|line| eprintln!("{line}"));
            }
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }
}
