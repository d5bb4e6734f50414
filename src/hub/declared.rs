//! Hubs whose methods are declared in the configuration (docs/design.md#3): [`DeclaredHub`].
//!
//! Everything that does not depend on the call is computed once, when the hub is created (`prepared`). In a call, each
//! step is first planned (`plan`), which has no side effects, and then executed.

mod compose;
mod failure;
mod plan;
mod prepared;
mod prepared_value;
mod stream_items;

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use self::failure::Failure;
use self::plan::{StepAction, StepContext};
use self::prepared::{Preparation, PreparedStep, PreparedText};
use self::prepared_value::PreparedValue;
use super::method_table::MethodTable;
use super::{Call, Caller, DisconnectError, Hub, HubError, HubMethod, MethodShape, Reply};
use crate::config::HubConfig;
use crate::config::auth::GroupPattern;
use crate::config::steps::MethodConfig;
use crate::protocol::RawValue;

/// A hub whose methods are declared in the configuration.
///
/// The steps of a method run in order. The first step that fails ends the method with an error: a `HubException` with
/// the reason, or a `RedisConnectionException` if the step needs the backplane and it is down. The caller sees the text
/// only if detailed errors are enabled. A failed step of `on_connected` or `on_disconnected` is logged; the steps after
/// it still run, and the client stays connected.
#[derive(Debug)]
pub(crate) struct DeclaredHub {
    facts: Arc<HubFacts>,
    methods: MethodTable<Arc<Method>>,
    on_connected: Vec<PreparedStep>,
    on_disconnected: Vec<PreparedStep>,
}

/// Data that all methods of a hub need.
#[derive(Debug)]
struct HubFacts {
    name: String,
    /// The groups that `join` may name in methods without a list of their own.
    allowed_groups: Option<Vec<GroupPattern>>,
}

/// One declared method.
#[derive(Debug)]
struct Method {
    hub: Arc<HubFacts>,
    name: String,
    shape: MethodShape,
    params: Vec<String>,
    /// The method's own list of groups that `join` may name. If it is `None`, the hub's list applies.
    allowed_groups: Option<Vec<GroupPattern>>,
    upload: Option<UploadSteps>,
    steps: Vec<PreparedStep>,
    returns: Option<PreparedValue>,
    streams: Option<PreparedText>,
}

/// The steps that run for each item of an upload.
#[derive(Debug)]
struct UploadSteps {
    /// The name under which the steps refer to the item.
    item: String,
    each: Vec<PreparedStep>,
}

impl DeclaredHub {
    /// Creates the hub that `config` declares. Of several methods whose names differ only in case, the first one is
    /// used; a configuration that was read from a file has none, because the reader refuses them.
    pub(crate) fn new(config: &HubConfig) -> Self {
        let facts = Arc::new(HubFacts { name: config.name.clone(), allowed_groups: config.allowed_groups.clone() });
        let mut methods = MethodTable::default();
        for method in &config.methods {
            methods.insert(&method.name, Arc::new(Method::new(facts.clone(), method)));
        }
        let prepare = Preparation { hub: &config.name };
        let (on_connected, on_disconnected) =
            (prepare.steps(&config.on_connected), prepare.steps(&config.on_disconnected));
        Self { facts, methods, on_connected, on_disconnected }
    }

    /// Runs the steps of `on_connected` or `on_disconnected`; `hook` is which of the two, for the log.
    async fn hook(&self, hook: &'static str, steps: &[PreparedStep], caller: &Caller) {
        let run = StepRunner { hub: &self.facts, caller, allowed_groups: None };
        let mut values = StepValues::default();
        for (index, step) in steps.iter().enumerate() {
            if let Err(failure) = run.step(step, &mut values).await {
                failure.at(hook, index).log_hook(caller.delivery());
            }
        }
    }
}

impl Hub for DeclaredHub {
    fn resolve(&self, target: &str) -> Option<Arc<dyn HubMethod>> {
        Some(self.methods.get(target)?.clone())
    }

    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            self.hook("on_connected", &self.on_connected, &caller).await;
            Ok(())
        })
    }

    fn disconnected(&self, caller: Caller, _error: Option<DisconnectError>) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            self.hook("on_disconnected", &self.on_disconnected, &caller).await;
            Ok(())
        })
    }
}

impl Method {
    fn new(hub: Arc<HubFacts>, config: &MethodConfig) -> Self {
        let shape = MethodShape {
            streams: config.streams.is_some(),
            uploads: usize::from(config.upload.is_some()),
            policy: config.authorize.clone(),
            ..MethodShape::new(config.params.len())
        };
        let prepare = Preparation { hub: &hub.name };
        let upload = config.upload.as_ref();
        Self {
            shape,
            name: config.name.clone(),
            params: config.params.clone(),
            allowed_groups: config.allowed_groups.clone(),
            upload: upload.map(|upload| UploadSteps { item: upload.item.clone(), each: prepare.steps(&upload.each) }),
            steps: prepare.steps(&config.steps),
            returns: config.returns.as_ref().map(|returns| PreparedValue::new(returns, prepare)),
            streams: config.streams.as_ref().map(|group| prepare.text(group)),
            hub,
        }
    }

    async fn run(&self, caller: &Caller, call: Call) -> Result<Reply, Failure> {
        // A client that cancels its stream must not cut off a step, such as a send that has reached half of its
        // receivers. So the cancellation is held until the steps have run.
        let Call { arguments, mut uploads, cancellation: _held, .. } = call;
        let run = StepRunner { hub: &self.hub, caller, allowed_groups: self.allowed_groups.as_deref() };
        let mut values = StepValues { names: Cow::Borrowed(&self.params), values: arguments };
        if let Some(upload) = &self.upload {
            let mut items = uploads.pop().ok_or_else(|| HubError::step("the call has no upload stream"))?;
            while let Some(item) = items.next().await {
                let mut values = values.clone();
                values.add(&upload.item, item.map_err(Failure::of_upload)?);
                run.steps("each", &upload.each, &mut values).await?;
            }
        }
        let messages = match &self.streams {
            None => None,
            Some(group) => {
                let group = run.context(&values).streamed_group(group)?;
                Some(stream_items::stream_items(caller, &self.name, group).await)
            }
        };
        run.steps("do", &self.steps, &mut values).await?;
        Ok(match (messages, &self.returns) {
            (Some(messages), _) => Reply::Stream(messages),
            (None, Some(returns)) => Reply::Value(run.context(&values).value(returns)?),
            (None, None) => Reply::Empty,
        })
    }
}

impl HubMethod for Method {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> &MethodShape {
        &self.shape
    }

    // `check` is not overridden: a parameter accepts a value of any type.

    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move {
            self.run(&caller, call).await.map_err(|failure| {
                failure.log(caller.delivery(), &self.name);
                failure.error
            })
        })
    }

    /// `invoke` logs failures itself, because it knows which step failed and what in the reason comes from the client.
    fn logs_failures(&self) -> bool {
        true
    }
}

/// The values that steps can refer to, and their names. Both lists have the same order.
#[derive(Clone, Default)]
struct StepValues<'a> {
    names: Cow<'a, [String]>,
    values: Vec<RawValue>,
}

impl StepValues<'_> {
    fn add(&mut self, name: &str, value: RawValue) {
        self.names.to_mut().push(name.to_owned());
        self.values.push(value);
    }
}

/// Runs the steps of one call or of one hook.
struct StepRunner<'a> {
    hub: &'a HubFacts,
    caller: &'a Caller,
    /// The method's own list; `None` for a hook and for a method without one.
    allowed_groups: Option<&'a [GroupPattern]>,
}

impl StepRunner<'_> {
    fn context<'a>(&'a self, values: &'a StepValues<'_>) -> StepContext<'a> {
        StepContext {
            hub: &self.hub.name,
            connection: self.caller.connection_id(),
            user: self.caller.user_id(),
            params: &values.names,
            arguments: &values.values,
            allowed_groups: self.allowed_groups.or(self.hub.allowed_groups.as_deref()),
        }
    }

    /// Runs `steps` until one fails. `list` is the configuration key that holds them; it is named in the log.
    async fn steps(&self, list: &str, steps: &[PreparedStep], values: &mut StepValues<'_>) -> Result<(), Failure> {
        for (index, step) in steps.iter().enumerate() {
            self.step(step, values).await.map_err(|failure| failure.at(list, index))?;
        }
        Ok(())
    }

    async fn step(&self, step: &PreparedStep, values: &mut StepValues<'_>) -> Result<(), Failure> {
        let caller = self.caller;
        match self.context(values).plan(step)? {
            StepAction::Send { recipients, method, arguments } => {
                let delivery = caller.delivery();
                if let Some((last, others)) = recipients.split_last() {
                    for recipients in others {
                        delivery.send(recipients, method.clone(), arguments.clone()).await?;
                    }
                    delivery.send(last, method, arguments).await?;
                }
            }
            StepAction::Ask { connection, method, arguments, timeout, name } => {
                let client = caller.clients().client(connection).timeout(timeout);
                let answer = client.request_result(&method, arguments).await?;
                if let Some(name) = name {
                    values.add(&name, answer);
                }
            }
            StepAction::Join(group) => caller.groups().add(caller.connection_id(), group).await?,
            StepAction::Leave(group) => caller.groups().remove(caller.connection_id(), group).await?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
