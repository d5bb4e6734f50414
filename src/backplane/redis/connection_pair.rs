//! A pair of connections at work: a writer and a reader on each. Writers send whatever waits in one go; the reader of
//! subscriptions only frames, looks up and hands over, and waits when the node is behind: Redis then keeps what comes,
//! up to its `client-output-buffer-limit pubsub`.

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

/// How many refused channels of one connection are told about.
const MAX_LOGGED_REFUSALS: usize = 8;

/// How much is allocated for reading at a time, and the least that a read is given room for.
const READ_CHUNK: usize = 64 * 1024;
const MIN_READ_SPACE: usize = 8 * 1024;

/// Works until one of the two breaks, and says why. `outage_logged`: the log knows that the link was down.
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

/// Waits for more bytes, or for the time to look at the pulse.
async fn read_more(
    reader: &mut RedisReader,
    buffer: &mut BytesMut,
    tick: &mut tokio::time::Interval,
) -> Result<bool, String> {
    if buffer.capacity() - buffer.len() < MIN_READ_SPACE {
        buffer.reserve(READ_CHUNK);
    }
    tokio::select! {
        // What has come counts before the clock does.
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

/// No time in it: silence is given up sooner than `asyncTimeout` says.
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

/// A channel that Redis does not let this server subscribe. Its name may hold the name of a group, which a client chose.
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
        format!("The user needs +subscribe +unsubscribe +publish +ping and the channels &{}*", self.prefix)
    }
}

impl fmt::Display for RefusedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, reason, needs) = (Escaped::new(&self.channel), reason(&self.error), self.needs());
        write!(f, "Redis refused the subscription of channel '{channel}': {reason}. {needs}")
    }
}

/// The reader of the subscription connection.
struct SubscriptionReader<'a> {
    shared: &'a Shared,
    inbound: &'a mpsc::Sender<InboundEnvelope>,
    endpoint: &'a str,
    outage_logged: bool,
    up: bool,
    /// When the grace after an outage is over.
    up_at: Option<Instant>,
    /// What Redis refused before the link was up.
    refusals: Vec<RefusedChannel>,
    /// When the node was last behind, so that nothing could be read.
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

    /// Hands one message over, and waits if the node is behind. False: nobody takes messages any more.
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
                            return "nobody takes what arrives".to_owned().into();
                        }
                    }
                    Ok(Some(reply)) => self.handle_reply(reply),
                    Ok(None) => break,
                    Err(error) => return error.to_string().into(),
                }
            }
            self.shared.replied.notify_waiters();
            // The time spent handing over is not Redis's silence.
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
        // Redis answers, but our own messages do not come back: this is not the Redis that takes them.
        if state.publish_queue.echo_pending_since().is_some_and(|since| {
            now - since.max(self.backlogged_at).max(keep_alive.stalled_at()) > keep_alive.command_timeout()
        }) {
            return Err("what is published does not come back".to_owned());
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

    /// When everything that was wanted at first is confirmed, the link is about to be up.
    fn check_ready(&mut self) -> Result<(), LinkError> {
        if self.up || self.up_at.is_some() || !self.shared.lock().subscriptions.is_ready() {
            return Ok(());
        }
        let all_refused = self.shared.lock().subscriptions.all_refused();
        let mut refusals = std::mem::take(&mut self.refusals).into_iter().peekable();
        if let Some(refused) = refusals.next_if(|_| all_refused) {
            return Err(LinkError { reason: refused.to_string(), refused: true });
        }
        // At most a few: all are named.
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
