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

use super::dial::Pair;
use super::link::{self, GRACE};
use super::pulse::{Pulse, Verdict};
use super::resp::{self, Reply};
use super::shared::Shared;
use super::socket::{self, Socket, Stream, Trouble};
use super::topics::Refusal;
use crate::backplane::Inbound;
use crate::logging::{Allowed, Escaped, Kind, reason};

type Reader = ReadHalf<Box<dyn Stream>>;
type Writer = WriteHalf<Box<dyn Stream>>;

/// How many refused channels of one connection are told about.
const MOST_REFUSALS: usize = 8;

/// How much is allocated for reading at a time, and the least that a read is given room for.
const CHUNK: usize = 64 * 1024;
const LEAST: usize = 8 * 1024;

/// Works until one of the two breaks, and says why. `told`: the log knows that the link was down.
pub(super) async fn run(shared: &Shared, pair: Pair, inbound: &mpsc::Sender<Inbound>, told: bool) -> Trouble {
    let Pair { endpoint, commands, subscriptions } = pair;
    let Socket { stream, buffer } = commands;
    let (commands_in, commands_out) = tokio::io::split(stream);
    let Socket { stream, buffer: subscriptions_buffer } = subscriptions;
    let (subscriptions_in, subscriptions_out) = tokio::io::split(stream);
    let mut wanted = BytesMut::new();
    shared.lock().topics.flush(&mut wanted, Instant::now());
    let hearing = Hearing::new(shared, inbound, &endpoint, told);
    tokio::select! {
        reason = write_commands(shared, commands_out) => format!("command connection: {reason}").into(),
        reason = read_commands(shared, commands_in, buffer) => format!("command connection: {reason}").into(),
        reason = write_subscriptions(shared, subscriptions_out, wanted) => {
            format!("subscription connection: {reason}").into()
        }
        Trouble { reason, refused } = hearing.read(subscriptions_in, subscriptions_buffer) => {
            Trouble { reason: format!("subscription connection: {reason}"), refused }
        }
    }
}

async fn write(writer: &mut Writer, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn write_commands(shared: &Shared, mut writer: Writer) -> String {
    loop {
        shared.publish_wakes.notified().await;
        loop {
            let bytes = shared.lock().outgoing.take();
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = write(&mut writer, &bytes).await {
                return error.to_string();
            }
        }
    }
}

async fn write_subscriptions(shared: &Shared, mut writer: Writer, mut bytes: BytesMut) -> String {
    loop {
        while !bytes.is_empty() {
            if let Err(error) = write(&mut writer, &bytes).await {
                return error.to_string();
            }
            bytes.clear();
            shared.lock().topics.flush(&mut bytes, Instant::now());
        }
        shared.topics_wake.notified().await;
        shared.lock().topics.flush(&mut bytes, Instant::now());
    }
}

/// Waits for more bytes, or for the time to look at the pulse.
async fn more(reader: &mut Reader, buffer: &mut BytesMut, tick: &mut tokio::time::Interval) -> Result<bool, String> {
    if buffer.capacity() - buffer.len() < LEAST {
        buffer.reserve(CHUNK);
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

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// No time in it: silence is given up sooner than `asyncTimeout` says.
const NO_ANSWER: &str = "Redis does not answer";

async fn read_commands(shared: &Shared, mut reader: Reader, mut buffer: BytesMut) -> String {
    let mut pulse = Pulse::new(shared);
    let mut tick = pulse.tick();
    loop {
        let now = Instant::now();
        {
            let mut state = shared.lock();
            loop {
                match resp::take(&mut buffer) {
                    Ok(Some(Reply::Value(value))) if resp::is_unasked(&value) => {}
                    Ok(Some(Reply::Value(value))) => {
                        let result = match value {
                            Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
                            Value::ServerError(error) => Err(socket::server_error(&error)),
                            // PONG.
                            _ => Ok(0),
                        };
                        state.outgoing.answered(result, now);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
        }
        shared.replied.notify_waiters();
        match more(&mut reader, &mut buffer, &mut tick).await {
            Ok(true) => pulse.beat(),
            Ok(false) => {
                let now = Instant::now();
                let mut state = shared.lock();
                match pulse.look(now, state.outgoing.waiting_since()) {
                    Verdict::Fine => {}
                    Verdict::Ask => {
                        state.outgoing.ping(now);
                        drop(state);
                        shared.publish_wakes.notify_one();
                    }
                    Verdict::Dead => return NO_ANSWER.to_owned(),
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
struct Hearing<'a> {
    shared: &'a Shared,
    inbound: &'a mpsc::Sender<Inbound>,
    endpoint: &'a str,
    told: bool,
    up: bool,
    /// When the grace after an outage is over.
    up_at: Option<Instant>,
    /// What Redis refused before the link was up.
    refusals: Vec<RefusedChannel>,
    /// When the node was last behind, so that nothing could be read.
    behind: Instant,
}

impl<'a> Hearing<'a> {
    fn new(shared: &'a Shared, inbound: &'a mpsc::Sender<Inbound>, endpoint: &'a str, told: bool) -> Self {
        Self { shared, inbound, endpoint, told, up: false, up_at: None, refusals: Vec::new(), behind: Instant::now() }
    }

    /// Hands one message over, and waits if the node is behind. False: nobody takes messages any more.
    async fn hand_over(&mut self, message: Inbound) -> bool {
        match self.inbound.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(message)) => {
                let taken = self.inbound.send(message).await.is_ok();
                self.behind = Instant::now();
                taken
            }
        }
    }

    async fn read(mut self, mut reader: Reader, mut buffer: BytesMut) -> Trouble {
        let mut pulse = Pulse::new(self.shared);
        let mut tick = pulse.tick();
        loop {
            loop {
                match resp::take(&mut buffer) {
                    Ok(Some(Reply::Message { channel, payload })) => {
                        if let Some(message) = self.shared.read(&channel, &payload)
                            && !self.hand_over(message).await
                        {
                            return "nobody takes what arrives".to_owned().into();
                        }
                    }
                    Ok(Some(reply)) => self.administer(reply),
                    Ok(None) => break,
                    Err(error) => return error.to_string().into(),
                }
            }
            self.shared.replied.notify_waiters();
            // The time spent handing over is not Redis's silence.
            pulse.beat();
            if let Err(trouble) = self.get_ready() {
                return trouble;
            }
            loop {
                tokio::select! {
                    biased;
                    read = more(&mut reader, &mut buffer, &mut tick) => match read {
                        Ok(true) => break,
                        Ok(false) => {
                            if let Err(reason) = self.look(&mut pulse) {
                                return reason.into();
                            }
                        }
                        Err(reason) => return reason.into(),
                    },
                    () = until(self.up_at) => self.come_up(),
                }
            }
        }
    }

    fn look(&self, pulse: &mut Pulse) -> Result<(), String> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        // Redis answers, but our own messages do not come back: this is not the Redis that takes them.
        if state
            .outgoing
            .unheard_since()
            .is_some_and(|since| now - since.max(self.behind).max(pulse.stood_still()) > pulse.patience())
        {
            return Err("what is published does not come back".to_owned());
        }
        match pulse.look(now, state.topics.waiting_since()) {
            Verdict::Fine => Ok(()),
            Verdict::Ask => {
                state.topics.ask_for_ping();
                drop(state);
                self.shared.topics_wake.notify_one();
                Ok(())
            }
            Verdict::Dead => Err(NO_ANSWER.to_owned()),
        }
    }

    /// When everything that was wanted at first is confirmed, the link is about to be up.
    fn get_ready(&mut self) -> Result<(), Trouble> {
        if self.up || self.up_at.is_some() || !self.shared.lock().topics.is_ready() {
            return Ok(());
        }
        let all_refused = self.shared.lock().topics.all_refused();
        let mut refusals = std::mem::take(&mut self.refusals).into_iter().peekable();
        if let Some(refused) = refusals.next_if(|_| all_refused) {
            return Err(Trouble { reason: refused.to_string(), refused: true });
        }
        // At most a few: all are named.
        refusals.for_each(|refused| refused.log(None));
        if self.told {
            self.up_at = Some(Instant::now() + GRACE);
        } else {
            self.come_up();
        }
        Ok(())
    }

    fn come_up(&mut self) {
        self.up_at = None;
        self.up = true;
        link::restored(self.shared, self.endpoint, self.told);
    }

    fn administer(&mut self, reply: Reply) {
        let mut state = self.shared.lock();
        match reply {
            Reply::Subscribed(channel) => state.topics.subscribed(&socket::shown(&channel)),
            Reply::Unsubscribed(channel) => {
                let channel = socket::shown(&channel);
                state.topics.unsubscribed(&channel);
                if !state.topics.hears(&channel) {
                    state.outgoing.deaf_to(&channel);
                }
            }
            Reply::Value(Value::ServerError(error)) => match state.topics.refused() {
                Refusal::Channel(channel) => {
                    drop(state);
                    let prefix = self.shared.options.channel_prefix.clone();
                    let refused = RefusedChannel { channel, error: socket::server_error(&error), prefix };
                    if self.up {
                        let allowed = self.shared.log.allow(Kind::SubscriptionRefused, Instant::now());
                        if let Some(Allowed { suppressed }) = allowed {
                            refused.log(suppressed);
                        }
                    } else if self.refusals.len() < MOST_REFUSALS {
                        self.refusals.push(refused);
                    }
                }
                Refusal::Batch => self.shared.topics_wake.notify_one(),
                Refusal::Other => {}
            },
            Reply::Value(value) if !resp::is_unasked(&value) => state.topics.ponged(),
            Reply::Value(_) | Reply::Message { .. } => {}
        }
    }
}
