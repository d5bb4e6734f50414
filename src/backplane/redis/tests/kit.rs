//! A real Redis as a child process that can be killed, paused and restarted, and short words for nodes and envelopes.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::backplane::redis::resp::{self, Reply};
use crate::backplane::redis::{RedisBackplane, RedisOptions};
use crate::backplane::{Backplane, BackplaneError, Channel, Envelope, Inbound, InboundReceiver, LinkState, Topic};
use crate::frame::Frame;
use crate::ids::{HubName, NodeId};
use crate::protocol::Protocol;
use crate::protocol::framing::write_prefix;
use crate::protocol::msgpack::write;

/// Longer than anything here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Redis {
    child: Child,
    pub(super) port: u16,
    args: Vec<String>,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(super) async fn start(args: &[&str]) -> Self {
        let mut redis = Self::start_on(free_port(), args);
        redis.answers().await;
        redis
    }

    /// Starts one that may not be ready yet.
    pub(super) fn start_on(port: u16, args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { child: spawn(port, &args), port, args }
    }

    /// Waits until it says anything at all, be it that a login is needed.
    pub(super) async fn answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_command(&[&["PING"]]).await.is_none() {
            assert!(!self.has_ended(), "redis-server on port {} has ended by itself", self.port);
            assert!(Instant::now() < deadline, "redis-server on port {} did not answer", self.port);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it ended by itself: it did not like its arguments.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same again, on the same port.
    pub(super) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.args);
        self.answers().await;
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// One command on a connection of its own.
    pub(super) async fn command(&self, parts: &[&str]) -> Value {
        self.try_command(&[parts]).await.expect("Redis answers")
    }

    pub(super) async fn publish(&self, channel: &str, payload: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut out = BytesMut::new();
        resp::command(&mut out, [&b"PUBLISH"[..], channel.as_bytes(), payload].into_iter());
        stream.write_all(&out).await.unwrap();
        assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    }

    /// Several commands on one connection; the last one's answer.
    pub(super) async fn try_command(&self, commands: &[&[&str]]) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut buffer = BytesMut::new();
        let mut last = None;
        for parts in commands {
            let mut out = BytesMut::new();
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            resp::command(&mut out, parts.into_iter());
            stream.write_all(&out).await.ok()?;
            last = loop {
                if let Some(Reply::Value(value)) = resp::take(&mut buffer).ok()? {
                    break Some(value);
                }
                if stream.read_buf(&mut buffer).await.ok()? == 0 {
                    return None;
                }
            };
        }
        last
    }

    pub(super) fn options(&self, more: &str) -> RedisOptions {
        RedisOptions::parse(&format!("127.0.0.1:{},{more}", self.port)).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, args: &[String]) -> Child {
    let binary = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    Command::new(&binary)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(args)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests need a Redis: '{binary}' cannot be started ({error}); install redis-server or set REDIS_SERVER")
        })
}

/// A port below the range that outgoing connections take, so that a restarted server finds it free.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 900;
    loop {
        let port = 21_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

// === nodes ===

pub(super) struct Node {
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) inbound: InboundReceiver,
}

impl Node {
    pub(super) async fn on_redis(options: RedisOptions, name: &str) -> Self {
        let hubs = [HUB, "Chat"].map(|hub| (HubName::from(hub), Protocol::ALL.to_vec()));
        let (backplane, inbound) = RedisBackplane::connect(options, NodeId::from(name), hubs.into()).await.unwrap();
        Self { backplane, inbound }
    }

    pub(super) async fn reaches(&self, state: LinkState) {
        let mut link = self.backplane.link();
        tokio::time::timeout(PATIENCE, link.wait_for(|now| *now == state))
            .await
            .unwrap_or_else(|_| panic!("the link did not become {state:?}"))
            .unwrap();
    }

    pub(super) async fn subscribe(&self, channels: impl IntoIterator<Item = Channel>) {
        let topics = channels.into_iter().map(topic).collect();
        tokio::time::timeout(PATIENCE, self.backplane.subscribe(topics)).await.expect("the subscription is confirmed");
    }

    pub(super) fn unsubscribe(&self, channel: Channel) {
        self.backplane.unsubscribe(vec![topic(channel)]);
    }

    pub(super) async fn publish(&self, channel: Channel, envelope: Envelope) -> Result<u64, BackplaneError> {
        tokio::time::timeout(PATIENCE, self.backplane.publish(topic(channel), envelope)).await.expect("publish ends")
    }

    pub(super) async fn say(&self, text: &str) -> Result<u64, BackplaneError> {
        self.publish(Channel::All, says(text)).await
    }

    pub(super) async fn next(&mut self) -> Inbound {
        tokio::time::timeout(PATIENCE, self.inbound.recv()).await.expect("something arrives").unwrap()
    }

    /// The text of the next message.
    pub(super) async fn hears(&mut self) -> String {
        said(&self.next().await)
    }

    /// Whether nothing is there, after everything published before `marker` has come.
    pub(super) async fn hears_only(&mut self, texts: &[&str], marker: &str) {
        let mut heard = Vec::new();
        loop {
            let text = self.hears().await;
            if text == marker {
                break;
            }
            heard.push(text);
        }
        assert_eq!(heard, texts);
    }
}

/// Contains a colon, as the names of .NET types may, and has another hub's name as its beginning.
pub(super) const HUB: &str = "Chat:Hub";

pub(super) fn topic(channel: Channel) -> Topic {
    Topic { hub: HUB.into(), channel }
}

pub(super) fn says(text: &str) -> Envelope {
    Envelope::Deliver { except: vec!["not me".into()], frame: frame(text), reply_to: None }
}

/// A message that consists of the text, framed as the hub protocols frame one.
pub(super) fn frame(text: &str) -> Frame {
    Frame::encoded(Protocol::ALL.map(|protocol| (protocol, framed(protocol, text))))
}

fn framed(protocol: Protocol, text: &str) -> Bytes {
    match protocol {
        Protocol::Json => format!("{{{text}}}\u{1e}").into(),
        Protocol::MessagePack => {
            let mut body = vec![0x91];
            write::text(&mut body, text);
            let (prefix, used) = write_prefix(body.len());
            [&prefix[..used], &body].concat().into()
        }
    }
}

pub(super) fn said(inbound: &Inbound) -> String {
    let Envelope::Deliver { frame, except, .. } = &inbound.envelope else { panic!("no message: {inbound:?}") };
    assert_eq!(except.len(), 1);
    let json = frame.raw(Protocol::Json).unwrap();
    let text = std::str::from_utf8(&json).unwrap();
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix("}\u{1e}")).unwrap().to_owned();
    assert_eq!(frame.raw(Protocol::MessagePack).unwrap(), framed(Protocol::MessagePack, &text));
    text
}

// === the log ===

/// What is logged on this thread while it lives.
pub(super) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub(super) fn capture() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(text.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || sink.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of this crate.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("hubplane")).map(str::to_owned).collect()
    }
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
