//! Runs the two connections of the link, each with a writer and a reader. A writer sends everything that is queued with
//! one write. The reader of the subscription connection only decodes messages and passes them on. If the node cannot
//! keep up, the reader stops reading, and Redis buffers the messages up to its `client-output-buffer-limit pubsub`.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::connector::ConnectionPair;
use super::link::{self, RECOVERY_DELAY};
use super::link_keep_alive::{LinkHealth, LinkKeepAlive};
use super::resp::{self, RedisReply};
use super::shared::Shared;
use super::socket::{self, LinkError, RedisSocket, RedisStream};
use super::subscriptions::RefusedCommand;
use crate::backplane::InboundEnvelope;
use crate::logging::{Allowed, Escaped, LogKind, reason};

type RedisReader = ReadHalf<Box<dyn RedisStream>>;
type RedisWriter = WriteHalf<Box<dyn RedisStream>>;

/// How many refused subscriptions are logged while a connection is being set up.
const MAX_LOGGED_REFUSALS: usize = 8;

/// How many bytes are allocated for reading at a time.
const READ_CHUNK: usize = 64 * 1024;
/// How many free bytes a read needs at least; with fewer, the buffer grows.
const MIN_READ_SPACE: usize = 8 * 1024;

/// Runs until one of the two connections breaks, and returns the reason. `outage_logged` is whether an outage has been
/// logged; if so, the link becomes up only after [`RECOVERY_DELAY`], and the end of the outage is logged.
pub(super) async fn run(
    shared: &Shared,
    pair: ConnectionPair,
    inbound: &mpsc::Sender<InboundEnvelope>,
    outage_logged: bool,
) -> LinkError {
    let ConnectionPair { endpoint, commands, subscriptions } = pair;
    let RedisSocket { stream, buffer } = commands;
    let (commands_in, commands_out) = tokio::io::split(stream);
    let RedisSocket { stream, buffer: subscriptions_buffer } = subscriptions;
    let (subscriptions_in, subscriptions_out) = tokio::io::split(stream);
    let mut initial_commands = BytesMut::new();
    shared.lock().subscriptions.flush(&mut initial_commands, Instant::now());
    let subscription_reader = SubscriptionReader::new(shared, inbound, &endpoint, outage_logged);
    tokio::select! {
        reason = write_commands(shared, commands_out) => format!("command connection: {reason}").into(),
        reason = read_commands(shared, commands_in, buffer) => format!("command connection: {reason}").into(),
        reason = write_subscriptions(shared, subscriptions_out, initial_commands) => {
            format!("subscription connection: {reason}").into()
        }
        LinkError { reason, refused } = subscription_reader.read(subscriptions_in, subscriptions_buffer) => {
            LinkError { reason: format!("subscription connection: {reason}"), refused }
        }
    }
}

async fn write(writer: &mut RedisWriter, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn write_commands(shared: &Shared, mut writer: RedisWriter) -> String {
    loop {
        shared.publish_ready.notified().await;
        loop {
            let bytes = shared.lock().publish_queue.take_buffer();
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = write(&mut writer, &bytes).await {
                return error.to_string();
            }
        }
    }
}

async fn write_subscriptions(shared: &Shared, mut writer: RedisWriter, mut bytes: BytesMut) -> String {
    loop {
        while !bytes.is_empty() {
            if let Err(error) = write(&mut writer, &bytes).await {
                return error.to_string();
            }
            bytes.clear();
            shared.lock().subscriptions.flush(&mut bytes, Instant::now());
        }
        shared.subscriptions_ready.notified().await;
        shared.lock().subscriptions.flush(&mut bytes, Instant::now());
    }
}

/// Waits for more bytes (`true`) or for the next keep-alive check (`false`).
async fn read_more(
    reader: &mut RedisReader,
    buffer: &mut BytesMut,
    tick: &mut tokio::time::Interval,
) -> Result<bool, String> {
    if buffer.capacity() - buffer.len() < MIN_READ_SPACE {
        buffer.reserve(READ_CHUNK);
    }
    tokio::select! {
        // Reading has priority, so that Redis is not considered silent while received bytes wait to be read.
        biased;
        read = reader.read_buf(buffer) => match read {
            Ok(0) => Err("Redis closed it".to_owned()),
            Ok(_) => Ok(true),
            Err(error) => Err(error.to_string()),
        },
        _ = tick.tick() => Ok(false),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Names no duration, because a silent connection may be closed sooner than after `asyncTimeout`.
const NO_ANSWER: &str = "Redis does not answer";

async fn read_commands(shared: &Shared, mut reader: RedisReader, mut buffer: BytesMut) -> String {
    let mut keep_alive = LinkKeepAlive::new(shared);
    let mut tick = keep_alive.ticker();
    loop {
        let now = Instant::now();
        {
            let mut state = shared.lock();
            loop {
                match resp::take_reply(&mut buffer) {
                    Ok(Some(RedisReply::Value(value))) if resp::is_push(&value) => {}
                    Ok(Some(RedisReply::Value(value))) => {
                        let result = match value {
                            Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
                            Value::ServerError(error) => Err(socket::server_error(&error)),
                            // PONG.
                            _ => Ok(0),
                        };
                        state.publish_queue.reply_received(result, now);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
        }
        shared.replied.notify_waiters();
        match read_more(&mut reader, &mut buffer, &mut tick).await {
            Ok(true) => keep_alive.record_received(),
            Ok(false) => {
                let now = Instant::now();
                let mut state = shared.lock();
                match keep_alive.check(now, state.publish_queue.pending_since()) {
                    LinkHealth::Healthy => {}
                    LinkHealth::PingDue => {
                        state.publish_queue.ping(now);
                        drop(state);
                        shared.publish_ready.notify_one();
                    }
                    LinkHealth::Dead => return NO_ANSWER.to_owned(),
                }
            }
            Err(reason) => return reason,
        }
    }
}

/// A channel to which Redis does not let this server subscribe. The name may contain a group name that a client chose,
/// so it is escaped before it is logged.
struct RefusedChannel {
    channel: Arc<str>,
    error: String,
    prefix: String,
}

impl RefusedChannel {
    fn log(&self, suppressed: Option<u64>) {
        let channel = Escaped::new(&self.channel).to_string();
        let (reason, needs) = (reason(&self.error), self.needs());
        tracing::error!(channel, reason, suppressed, "Redis refused a subscription. {needs}");
    }

    fn needs(&self) -> String {
        format!("The Redis user needs +subscribe +unsubscribe +publish +ping and the channels &{}*", self.prefix)
    }
}

impl fmt::Display for RefusedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, reason, needs) = (Escaped::new(&self.channel), reason(&self.error), self.needs());
        write!(f, "Redis refused the subscription to channel '{channel}': {reason}. {needs}")
    }
}

/// The reader of the subscription connection.
struct SubscriptionReader<'a> {
    shared: &'a Shared,
    inbound: &'a mpsc::Sender<InboundEnvelope>,
    endpoint: &'a str,
    outage_logged: bool,
    up: bool,
    /// When the link becomes up after an outage, once [`RECOVERY_DELAY`] has passed.
    up_at: Option<Instant>,
    /// The subscriptions that Redis refused before the link was up.
    refusals: Vec<RefusedChannel>,
    /// When reading was last blocked because the node had fallen behind.
    backlogged_at: Instant,
}

impl<'a> SubscriptionReader<'a> {
    fn new(
        shared: &'a Shared,
        inbound: &'a mpsc::Sender<InboundEnvelope>,
        endpoint: &'a str,
        outage_logged: bool,
    ) -> Self {
        Self {
            shared,
            inbound,
            endpoint,
            outage_logged,
            up: false,
            up_at: None,
            refusals: Vec::new(),
            backlogged_at: Instant::now(),
        }
    }

    /// Passes one envelope to delivery, and waits while delivery is behind. Returns `false` if delivery has ended.
    async fn deliver(&mut self, message: InboundEnvelope) -> bool {
        match self.inbound.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(message)) => {
                let taken = self.inbound.send(message).await.is_ok();
                self.backlogged_at = Instant::now();
                taken
            }
        }
    }

    async fn read(mut self, mut reader: RedisReader, mut buffer: BytesMut) -> LinkError {
        let mut keep_alive = LinkKeepAlive::new(self.shared);
        let mut tick = keep_alive.ticker();
        loop {
            loop {
                match resp::take_reply(&mut buffer) {
                    Ok(Some(RedisReply::Message { channel, payload })) => {
                        if let Some(message) = self.shared.read(&channel, &payload)
                            && !self.deliver(message).await
                        {
                            return "the receiver of its messages has been dropped".to_owned().into();
                        }
                    }
                    Ok(Some(reply)) => self.handle_reply(reply),
                    Ok(None) => break,
                    Err(error) => return error.to_string().into(),
                }
            }
            self.shared.replied.notify_waiters();
            // The time that delivery took must not be taken for silence of Redis.
            keep_alive.record_received();
            if let Err(link_error) = self.check_ready() {
                return link_error;
            }
            loop {
                tokio::select! {
                    biased;
                    read = read_more(&mut reader, &mut buffer, &mut tick) => match read {
                        Ok(true) => break,
                        Ok(false) => {
                            if let Err(reason) = self.check(&mut keep_alive) {
                                return reason.into();
                            }
                        }
                        Err(reason) => return reason.into(),
                    },
                    () = sleep_until(self.up_at) => self.mark_up(),
                }
            }
        }
    }

    fn check(&self, keep_alive: &mut LinkKeepAlive) -> Result<(), String> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        // Redis answers, but the node's echoes do not arrive: the two connections do not reach the same Redis.
        if state.publish_queue.echo_pending_since().is_some_and(|since| {
            now - since.max(self.backlogged_at).max(keep_alive.stalled_at()) > keep_alive.command_timeout()
        }) {
            return Err("published messages do not come back".to_owned());
        }
        match keep_alive.check(now, state.subscriptions.pending_since()) {
            LinkHealth::Healthy => Ok(()),
            LinkHealth::PingDue => {
                state.subscriptions.request_ping();
                drop(state);
                self.shared.subscriptions_ready.notify_one();
                Ok(())
            }
            LinkHealth::Dead => Err(NO_ANSWER.to_owned()),
        }
    }

    /// Marks the link as up, after an outage with a delay, once every initial subscription is confirmed.
    fn check_ready(&mut self) -> Result<(), LinkError> {
        if self.up || self.up_at.is_some() || !self.shared.lock().subscriptions.is_ready() {
            return Ok(());
        }
        let all_refused = self.shared.lock().subscriptions.all_refused();
        let mut refusals = std::mem::take(&mut self.refusals).into_iter().peekable();
        if let Some(refused) = refusals.next_if(|_| all_refused) {
            return Err(LinkError { reason: refused.to_string(), refused: true });
        }
        // There are at most `MAX_LOGGED_REFUSALS` of them, so that the rate limiter is not needed.
        refusals.for_each(|refused| refused.log(None));
        if self.outage_logged {
            self.up_at = Some(Instant::now() + RECOVERY_DELAY);
        } else {
            self.mark_up();
        }
        Ok(())
    }

    fn mark_up(&mut self) {
        self.up_at = None;
        self.up = true;
        link::mark_up(self.shared, self.endpoint, self.outage_logged);
    }

    fn handle_reply(&mut self, reply: RedisReply) {
        let mut state = self.shared.lock();
        match reply {
            RedisReply::Subscribed(channel) => state.subscriptions.subscribed(&socket::lossy_text(&channel)),
            RedisReply::Unsubscribed(channel) => {
                let channel = socket::lossy_text(&channel);
                state.subscriptions.unsubscribed(&channel);
                if !state.subscriptions.is_confirmed(&channel) {
                    state.publish_queue.channel_unsubscribed(&channel);
                }
            }
            RedisReply::Value(Value::ServerError(error)) => match state.subscriptions.error_received() {
                RefusedCommand::Channel(channel) => {
                    drop(state);
                    let prefix = self.shared.options.channel_prefix.clone();
                    let refused = RefusedChannel { channel, error: socket::server_error(&error), prefix };
                    if self.up {
                        let allowed = self.shared.log.allow(LogKind::SubscriptionRefused, Instant::now());
                        if let Some(Allowed { suppressed }) = allowed {
                            refused.log(suppressed);
                        }
                    } else if self.refusals.len() < MAX_LOGGED_REFUSALS {
                        self.refusals.push(refused);
                    }
                }
                RefusedCommand::Batch => self.shared.subscriptions_ready.notify_one(),
                RefusedCommand::Other => {}
            },
            RedisReply::Value(value) if !resp::is_push(&value) => state.subscriptions.pong_received(),
            RedisReply::Value(_) | RedisReply::Message { .. } => {}
        }
    }
}
