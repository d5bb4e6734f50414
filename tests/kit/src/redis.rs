//! A real `redis-server` for one test, which can be killed, paused and restarted. The environment variable
//! `REDIS_SERVER` can name another binary.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::stream::Stream;
use crate::{PROCESS_TIMEOUT, TIMEOUT, signal, until, within};

/// A `redis-server`, which is killed when this value is dropped.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Reserves a port for a server without starting it.
    pub fn absent() -> Self {
        Self::with(&[])
    }

    /// Reserves a port for a server that will be started with these additional arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { address: (Ipv4Addr::LOCALHOST, free_port()).into(), arguments, child: None }
    }

    /// Starts a server, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let mut redis = Self::absent();
        redis.run();
        redis
    }

    /// Starts or restarts this server, and waits until it answers.
    #[track_caller]
    pub fn run(&mut self) {
        self.spawn();
        until("redis-server answers", PROCESS_TIMEOUT, || self.answers().then_some(()));
    }

    /// Starts or restarts this server without waiting until it answers.
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

    /// Whether it answers by now, even if only that a login is needed. Panics if the process has ended.
    #[track_caller]
    pub fn answers(&mut self) -> bool {
        let ended = self.child.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "redis-server on {} ended: {ended:?}", self.address);
        TcpStream::connect(self.address).is_ok() && !self.command(&["PING"]).is_empty()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A connection string with long timeouts, so that a machine which stalls for some seconds does not cause an
    /// outage. For all tests that are not about outages.
    pub fn connection(&self) -> String {
        format!("{},asyncTimeout=60000,connectTimeout=30000", self.connection_with_defaults())
    }

    /// A connection string with the default timeouts, for tests of outages.
    pub fn connection_with_defaults(&self) -> String {
        format!("{},abortConnect=false", self.address)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Pauses it with SIGSTOP: it keeps its sockets, but answers nothing.
    pub fn pause(&self) {
        signal("STOP", self.pid());
    }

    /// Resumes it with SIGCONT.
    pub fn resume(&self) {
        signal("CONT", self.pid());
    }

    /// Executes a command, and returns the first line of the reply.
    #[must_use = "a test should check the reply"]
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

    /// A number from `INFO stats`. Each call makes a new connection.
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

    /// Opens a connection that is subscribed to every channel until it is dropped.
    pub fn monitor(&self) -> Stream {
        let mut stream = Stream::connect(self.address);
        stream.write(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\n*\r\n");
        let confirmed = b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n";
        stream.take(within(TIMEOUT), |held| held.starts_with(confirmed).then_some(((), confirmed.len()))).unwrap();
        stream
    }

    /// Publishes any bytes, and returns the number of subscribers.
    pub fn publish(&self, channel: &str, payload: &[u8]) -> usize {
        self.command_bytes(&[b"PUBLISH", channel.as_bytes(), payload]).trim_start_matches(':').parse().unwrap()
    }

    /// Publishes many payloads in one transaction.
    pub fn publish_all(&self, channel: &str, payloads: impl Iterator<Item = Vec<u8>>) {
        let mut bytes = encoded(&[b"MULTI"]);
        payloads.for_each(|payload| bytes.extend(encoded(&[b"PUBLISH", channel.as_bytes(), &payload])));
        bytes.extend(encoded(&[b"EXEC"]));
        let mut stream = Stream::connect(self.address);
        stream.write(&bytes);
        let done = |held: &[u8]| held.windows(2).any(|window| window == b"\n*").then_some(((), held.len()));
        stream.take(within(TIMEOUT), done).unwrap();
    }

    /// Waits until `count` connections have subscribed to this channel.
    pub fn subscribed(&self, channel: &str, count: usize) {
        until(&format!("{count} subscribers of {channel}"), TIMEOUT, || {
            (self.publish(channel, b"\x92\x90\x80") == count).then_some(())
        });
    }
}

/// A port on which nothing listens. It is below the range from which the system chooses ports for connections and for
/// listeners on port 0, so that it is not taken before a server is started or restarted on it.
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

/// A command in Redis's protocol.
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
