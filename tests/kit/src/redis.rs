//! A real `redis-server` of a test's own, to be killed, paused and started again. The environment's `REDIS_SERVER` names another binary.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::stream::Stream;
use crate::{PROCESS_TIMEOUT, TIMEOUT, signal, until, within};

/// A `redis-server`, which ends with this value.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// A port for one, where nothing listens yet.
    pub fn absent() -> Self {
        Self::with(&[])
    }

    /// The same, with more arguments for when it starts.
    pub fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { address: (Ipv4Addr::LOCALHOST, free_port()).into(), arguments, child: None }
    }

    /// Starts one and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let mut redis = Self::absent();
        redis.run();
        redis
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn run(&mut self) {
        self.spawn();
        until("redis-server answers", PROCESS_TIMEOUT, || self.answers().then_some(()));
    }

    /// Starts it; it may not answer yet.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.child.is_none());
        crate::needs::expect_asked("redis-server");
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(&program)
            .args(["--port", &self.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        self.child = Some(child);
    }

    /// Whether it says anything at all by now, be it that a login is needed. It must not have ended.
    #[track_caller]
    pub fn answers(&mut self) -> bool {
        let ended = self.child.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "redis-server on {} ended: {ended:?}", self.address);
        TcpStream::connect(self.address).is_ok() && !self.command(&["PING"]).is_empty()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How it is reached, as a connection string. Nobody takes it for dead because it, or who asks it, got no processor for some
    /// seconds: for all tests that are not about outages.
    pub fn connection(&self) -> String {
        format!("{},asyncTimeout=60000,connectTimeout=30000", self.connection_with_defaults())
    }

    /// The same with the time-outs that are usual: for tests of how soon an outage is noticed.
    pub fn connection_with_defaults(&self) -> String {
        format!("{},abortConnect=false", self.address)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// SIGSTOP: it keeps its sockets and answers nothing.
    pub fn pause(&self) {
        signal("STOP", self.pid());
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) {
        signal("CONT", self.pid());
    }

    /// A command, and the first line of its answer.
    #[must_use = "a test says which answer it expects"]
    pub fn command(&self, words: &[&str]) -> String {
        self.command_bytes(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    fn command_bytes(&self, words: &[&[u8]]) -> String {
        let mut stream = Stream::connect(self.address);
        stream.write(&encoded(words));
        stream
            .take(within(TIMEOUT), |held| {
                let length = held.windows(2).position(|window| window == b"\r\n")?;
                Some((String::from_utf8_lossy(&held[..length]).into_owned(), length + 2))
            })
            .unwrap()
    }

    /// A number of `INFO stats`. Asking is a connection of its own.
    pub fn stat(&self, name: &str) -> u64 {
        let mut stream = Stream::connect(self.address);
        stream.write(&encoded(&[b"INFO", b"stats"]));
        let find = |held: &[u8]| {
            let text = String::from_utf8_lossy(held).into_owned();
            let value = text.split_once(&format!("\n{name}:"))?.1.split_once('\r')?.0.to_owned();
            Some((value, held.len()))
        };
        stream.take(within(TIMEOUT), find).unwrap().parse().unwrap()
    }

    /// A connection that hears every channel, until it is dropped.
    pub fn monitor(&self) -> Stream {
        let mut stream = Stream::connect(self.address);
        stream.write(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\n*\r\n");
        let confirmed = b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n";
        stream.take(within(TIMEOUT), |held| held.starts_with(confirmed).then_some(((), confirmed.len()))).unwrap();
        stream
    }

    /// Publishes any bytes; how many heard them.
    pub fn publish(&self, channel: &str, payload: &[u8]) -> usize {
        self.command_bytes(&[b"PUBLISH", channel.as_bytes(), payload]).trim_start_matches(':').parse().unwrap()
    }

    /// Publishes many payloads in one go.
    pub fn publish_all(&self, channel: &str, payloads: impl Iterator<Item = Vec<u8>>) {
        let mut bytes = encoded(&[b"MULTI"]);
        payloads.for_each(|payload| bytes.extend(encoded(&[b"PUBLISH", channel.as_bytes(), &payload])));
        bytes.extend(encoded(&[b"EXEC"]));
        let mut stream = Stream::connect(self.address);
        stream.write(&bytes);
        let done = |held: &[u8]| held.windows(2).any(|window| window == b"\n*").then_some(((), held.len()));
        stream.take(within(TIMEOUT), done).unwrap();
    }

    /// Waits until so many connections have subscribed to this channel.
    pub fn subscribed(&self, channel: &str, count: usize) {
        until(&format!("{count} subscribers of {channel}"), TIMEOUT, || {
            (self.publish(channel, b"\x92\x90\x80") == count).then_some(())
        });
    }
}

/// A port where nothing listens. It is below the range that the system gives to connections and to listeners on port 0, so that nobody
/// else has it when a server starts there, or starts again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 900) as u16;
    loop {
        let port = 22_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A command as Redis reads it.
fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
