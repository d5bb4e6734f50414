//! A hub made of configuration (design.md section 3): [`Declared`].
//!
//! A step is first turned into what it does (`plan`), which touches nothing, then it is done.

mod compose;
mod plan;

use futures_util::future::BoxFuture;

use self::plan::{Effect, Scene};
use super::names::MethodTable;
use super::{Call, Caller, Hub, HubError, MethodShape, Reply};
use crate::backplane::BackplaneError;
use crate::config::HubConfig;
use crate::config::auth::GroupPattern;
use crate::config::steps::{MethodConfig, Step};
use crate::delivery::SendError;
use crate::protocol::RawValue;

/// A hub whose methods are declared in the configuration.
///
/// The steps of a method run in order. The first that fails ends the method with an error whose text the caller
/// sees only with detailed errors: `HubException` and the reason, or `RedisConnectionException` where the backplane
/// is needed and away. A step of `on_connected` or `on_disconnected` that fails is logged; those behind it run, and
/// the client stays.
#[derive(Debug)]
pub struct Declared {
    name: String,
    methods: MethodTable<MethodConfig>,
    on_connected: Vec<Step>,
    on_disconnected: Vec<Step>,
    /// The groups that `join` may name where a method has no list of its own.
    allowed_groups: Option<Vec<GroupPattern>>,
}

impl Declared {
    /// The hub that `config` declares. Of methods whose names differ in letter case only the first counts; reading a
    /// configuration refuses them.
    pub fn new(config: &HubConfig) -> Self {
        let mut methods = MethodTable::default();
        for method in &config.methods {
            methods.insert(&method.name, method.clone());
        }
        Self {
            name: config.name.clone(),
            methods,
            on_connected: config.on_connected.clone(),
            on_disconnected: config.on_disconnected.clone(),
            allowed_groups: config.allowed_groups.clone(),
        }
    }

    fn scene<'a>(&'a self, caller: &'a Caller, params: &'a [String], arguments: &'a [RawValue]) -> Scene<'a> {
        Scene {
            hub: &self.name,
            connection: caller.connection_id(),
            user: caller.user_id(),
            params,
            arguments,
            allowed_groups: self.allowed_groups.as_deref(),
        }
    }

    async fn hook(&self, hook: &'static str, steps: &[Step], caller: &Caller) {
        let scene = self.scene(caller, &[], &[]);
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = run(step, &scene, caller).await {
                tracing::warn!(
                    hub = self.name,
                    hook,
                    step = index + 1,
                    connection = %caller.connection_id(),
                    %error,
                    "a declared step failed; the client stays"
                );
            }
        }
    }
}

impl Hub for Declared {
    fn method(&self, target: &str) -> Option<MethodShape> {
        self.methods.get(target).map(|method| MethodShape::plain(method.params.len()).guarded(method.authorize.clone()))
    }

    // `check` stays as it is: any value fits a parameter.

    fn connected(&self, caller: Caller) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            self.hook("on_connected", &self.on_connected, &caller).await;
            Ok(())
        })
    }

    fn invoke(&self, caller: Caller, call: Call) -> BoxFuture<'_, Result<Reply, HubError>> {
        Box::pin(async move {
            let method = self.methods.get(&call.target).ok_or_else(HubError::unknown_method)?;
            let mut scene = self.scene(&caller, &method.params, &call.arguments);
            if let Some(own) = &method.allowed_groups {
                scene.allowed_groups = Some(own);
            }
            for step in &method.steps {
                run(step, &scene, &caller).await?;
            }
            Ok(match &method.returns {
                Some(returns) => Reply::Value(scene.value(returns)?),
                None => Reply::Empty,
            })
        })
    }

    fn disconnected(&self, caller: Caller, _error: Option<String>) -> BoxFuture<'_, Result<(), HubError>> {
        Box::pin(async move {
            self.hook("on_disconnected", &self.on_disconnected, &caller).await;
            Ok(())
        })
    }
}

async fn run(step: &Step, scene: &Scene<'_>, caller: &Caller) -> Result<(), HubError> {
    for effect in scene.plan(step)? {
        let done = match effect {
            Effect::Send { target, method, arguments } => {
                caller.clients().target(target).send(&method, arguments).await
            }
            Effect::Join(group) => caller.groups().add(caller.connection_id(), group).await,
            Effect::Leave(group) => caller.groups().remove(caller.connection_id(), group).await,
        };
        done.map_err(step_error)?;
    }
    Ok(())
}

/// Only an absent backplane has a name of its own (design.md section 3).
fn step_error(error: SendError) -> HubError {
    match error {
        SendError::Backplane(BackplaneError::Value(_)) => failed(error.to_string()),
        SendError::Backplane(_) => error.into(),
        SendError::Value(_) | SendError::AckTimeout | SendError::EmptyGroup => failed(error.to_string()),
    }
}

/// A step that failed for a reason that lies in the call.
fn failed(reason: impl Into<String>) -> HubError {
    HubError::failed("HubException", reason)
}

#[cfg(test)]
mod tests;
