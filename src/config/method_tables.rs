//! Reads methods and their steps (docs/design.md#3). The verb set is closed: `send`, `ask`, `join`, `leave`.

use std::time::Duration;

use super::auth_tables::{read_allowed_groups, read_authorize};
use super::node::{ConfigNode, ConfigValue};
use super::parse;
use super::problem::{nearest, suggestion};
use super::reader::{ConfigReader, TableReader};
use super::steps::{Expression, MethodConfig, Recipient, Step, Template, UploadConfig};
use super::template::{self, BUILT_IN_PLACEHOLDERS};

const VERBS: &[&str] = &["send", "ask", "join", "leave"];
const STEP_KEYS: &[&str] = &["send", "ask", "join", "leave", "to", "args", "except", "timeout", "as"];
/// The verbs that each of these keys belongs to.
const VERBS_OF_KEY: [(&str, &[&str]); 5] = [
    ("to", &["send", "ask"]),
    ("args", &["send", "ask"]),
    ("except", &["send"]),
    ("timeout", &["ask"]),
    ("as", &["ask"]),
];
/// How long a client may take to answer (docs/builders/redis-backplane.md#B.4) without a `timeout`.
const DEFAULT_RESULT_TIMEOUT: Duration = Duration::from_secs(30);
const RECIPIENTS: &[&str] = &["all", "others", "caller", "group:G", "others_in_group:G", "user:U", "connection:C"];

/// Reads the steps of a list, with the names that they may use.
struct StepReader<'a> {
    reader: &'a mut ConfigReader,
    /// The names of values: parameters, the item of an upload, the answers of earlier steps.
    names: Vec<String>,
    /// Whether `ask` is allowed; in `on_connected` and `on_disconnected` it is not.
    may_ask: bool,
}

/// Reads `[hubs.NAME.methods.METHOD]`. `checked` says whether there are keys to check tokens with.
pub(super) fn read_method(
    reader: &mut ConfigReader,
    name: String,
    node: ConfigNode,
    path: String,
    checked: bool,
) -> MethodConfig {
    let origin = node.origin.clone();
    let is_table = matches!(node.value, ConfigValue::Table(_));
    let mut table = reader.table(Some(node), path);
    if name.trim().is_empty() {
        reader.problems.push(super::Problem::of_key(table.path.clone(), Some(origin.clone()), "a method needs a name"));
    }
    let params = read_params(reader, &mut table);
    let authorize = read_authorize(reader, &mut table, checked);
    let allowed_groups = read_allowed_groups(reader, &mut table);
    let uploads = table.has("upload") || table.has("each");
    let upload = read_upload(reader, &mut table, &params);
    let (key, given) = (table.key("streams"), table.remove("streams"));
    let is_streaming = given.is_some();
    let streams = given.and_then(|node| {
        reader.note(key.clone(), node.to_string(), node.origin.clone());
        let mut scope = StepReader { reader, names: params.clone(), may_ask: true };
        if uploads || table.has("returns") {
            return scope.report(
                &key,
                &node,
                "must be alone: a method that streams has neither `returns` nor `upload`",
            );
        }
        match scope.recipient(&node, &key)? {
            Recipient::Group(group) => Some(group),
            _ => scope.report(&key, &node, "must be a group, as in \"group:{room}\""),
        }
    });
    let given = table.remove("do");
    let mut scope = StepReader { reader, names: params.clone(), may_ask: true };
    let steps = scope.steps(given, &table.key("do"));
    let key = table.key("returns");
    let returns = table.remove("returns").and_then(|node| {
        let value = scope.expression(&node, &key);
        scope.reader.note(key.clone(), node.to_string(), node.origin);
        value.map(Some).unwrap_or(Some(Expression::List(Vec::new())))
    });
    // `None` means that invalid steps have been reported; only a list without steps is empty.
    let idle = steps.as_ref().is_some_and(Vec::is_empty) && returns.is_none() && !uploads && !is_streaming;
    if is_table && idle {
        let text = "does nothing: give it steps in `do`, or a value in `returns`";
        reader.problems.push(super::Problem::of_key(table.path.clone(), Some(origin), text));
    }
    reader.finish(table, super::key_names::METHOD);
    MethodConfig { name, params, authorize, allowed_groups, upload, steps: steps.unwrap_or_default(), returns, streams }
}

/// Reads `upload` and `each`, which belong together.
fn read_upload(reader: &mut ConfigReader, table: &mut TableReader, params: &[String]) -> Option<UploadConfig> {
    let (upload_key, each_key) = (table.key("upload"), table.key("each"));
    match (table.remove("upload"), table.remove("each")) {
        (None, None) => None,
        (None, Some(each)) => {
            reader.problem(each_key, &each, "needs `upload`: the name of an item, as in upload = \"item\"");
            None
        }
        (Some(upload), None) => {
            reader.problem(upload_key, &upload, "needs `each`: the steps for each item");
            None
        }
        (Some(upload), Some(each)) => {
            reader.note(upload_key.clone(), upload.to_string(), upload.origin.clone());
            let mut scope = StepReader { reader, names: params.to_vec(), may_ask: true };
            let item = scope.new_name(&upload, &upload_key);
            let each = scope.steps(Some(each), &each_key);
            Some(UploadConfig { item: item?, each: each? })
        }
    }
}

fn read_params(reader: &mut ConfigReader, table: &mut TableReader) -> Vec<String> {
    let key = table.key("params");
    let Some(node) = table.remove("params") else { return Vec::new() };
    reader.note(key.clone(), node.to_string(), node.origin.clone());
    let names = match parse::texts(&node, |_, text| Ok(text)) {
        Ok(names) => names,
        Err(expected) => {
            reader.problem(key, &node, expected);
            return Vec::new();
        }
    };
    for (index, name) in names.iter().enumerate() {
        if let Err(wrong) = check_name(name, &names[..index]) {
            reader.problem(key.clone(), &node, format!("{} {wrong}", super::node::quoted(name)));
        }
    }
    names
}

/// Checks the name of a value; `taken` are the names of other values.
fn check_name(name: &str, taken: &[String]) -> Result<(), &'static str> {
    if BUILT_IN_PLACEHOLDERS.iter().any(|(built_in, _)| *built_in == name) {
        Err("is a built-in placeholder; choose another name")
    } else if taken.iter().any(|other| other == name) {
        Err("is used twice; each name must be unique")
    } else if name.is_empty() || name.contains(|c: char| c == '{' || c == '}' || c.is_whitespace()) {
        Err("is not a valid name; use letters, digits and _")
    } else {
        Ok(())
    }
}

/// Reads the steps of `on_connected` or `on_disconnected`; `None` if any of them is invalid.
pub(super) fn read_hook(reader: &mut ConfigReader, node: Option<ConfigNode>, path: &str) -> Option<Vec<Step>> {
    StepReader { reader, names: Vec::new(), may_ask: false }.steps(node, path)
}

impl StepReader<'_> {
    /// Reads a list of steps; `None` if any of them is invalid.
    fn steps(&mut self, node: Option<ConfigNode>, path: &str) -> Option<Vec<Step>> {
        let Some(node) = node else { return Some(Vec::new()) };
        self.reader.note(path.to_owned(), node.to_string(), node.origin.clone());
        let ConfigValue::List(items) = &node.value else {
            return self.report(path, &node, "must be a list of steps, such as [{ send = \"News\", to = \"all\" }]");
        };
        let steps: Vec<Option<Step>> =
            items.iter().enumerate().map(|(index, item)| self.step(item, &format!("{path}[{index}]"))).collect();
        steps.into_iter().collect()
    }

    /// Reads the name of a value, which later steps may use.
    fn new_name(&mut self, node: &ConfigNode, path: &str) -> Option<String> {
        let ConfigValue::Text(name) = &node.value else {
            return self.report(path, node, format!("must be a string, not {}", node.kind()));
        };
        match check_name(name, &self.names) {
            Ok(()) => {
                self.names.push(name.clone());
                Some(name.clone())
            }
            Err(wrong) => self.report(path, node, format!("{} {wrong}", super::node::quoted(name))),
        }
    }

    fn report<T>(&mut self, key: &str, node: &ConfigNode, expected: impl Into<String>) -> Option<T> {
        self.reader.problem(key, node, expected);
        None
    }

    fn step(&mut self, node: &ConfigNode, path: &str) -> Option<Step> {
        let ConfigValue::Table(entries) = &node.value else {
            return self.report(path, node, "must be a table, such as { send = \"News\", to = \"all\" }");
        };
        let mut known = true;
        for entry in entries.iter().filter(|entry| !STEP_KEYS.contains(&entry.key.as_str())) {
            known = false;
            let hint = suggestion(&entry.key, STEP_KEYS);
            let origin = Some(entry.origin.clone());
            let key = super::node::key_path(path, &entry.key);
            self.reader.problems.push(super::Problem::of_key(key, origin, format!("unknown key of a step; {hint}")));
        }
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
        let verbs: Vec<&str> = VERBS.iter().copied().filter(|verb| get(verb).is_some()).collect();
        let verb = match verbs.as_slice() {
            [verb] => *verb,
            [] if !known => return None,
            [] => return self.report(path, node, "must have a verb: send, ask, join or leave"),
            _ => {
                let text = format!("must have one verb, not {}; write two steps", verbs.join(" and "));
                return self.report(path, node, text);
            }
        };
        if let Some((extra, to)) = VERBS_OF_KEY.iter().find(|(key, verbs)| get(key).is_some() && !verbs.contains(&verb))
        {
            let text = format!("`{extra}` belongs to `{}`, not to `{verb}`", to.join("` and `"));
            return self.report(path, node, text);
        }
        if verb == "ask" && !self.may_ask {
            let text = "must not `ask`: a client cannot answer before it is connected, nor after it has disconnected";
            return self.report(path, node, text);
        }
        let subject = self.template(get(verb)?, &format!("{path}.{verb}"));
        if verb == "join" {
            return Some(Step::Join { group: subject? });
        }
        if verb == "leave" {
            return Some(Step::Leave { group: subject? });
        }
        let to = match get("to") {
            Some(to) => self.recipients(to, &format!("{path}.to")),
            None if verb == "ask" => self.report(path, node, "needs `to`: caller or connection:C"),
            None => self.report(path, node, format!("needs `to`: {}", RECIPIENTS.join(", "))),
        };
        let except = match get("except") {
            Some(list) => self.except(list, to.as_deref(), &format!("{path}.except")),
            None => Some(Vec::new()),
        };
        let args = match get("args") {
            Some(list) => self.args(list, &format!("{path}.args")),
            None => Some(Vec::new()),
        };
        if verb == "send" {
            let step = Step::Send { method: subject?, to: to?, except: except?, args: args? };
            return known.then_some(step);
        }
        let timeout = match get("timeout").map(|timeout| (timeout, parse::positive_duration(timeout))) {
            None => Some(DEFAULT_RESULT_TIMEOUT),
            Some((_, Ok(timeout))) => Some(timeout),
            Some((node, Err(expected))) => self.report(&format!("{path}.timeout"), node, expected),
        };
        // This comes last, because the step itself cannot use its own answer.
        let name = match get("as") {
            Some(name) => Some(self.new_name(name, &format!("{path}.as"))?),
            None => None,
        };
        let to = match (to?.as_slice(), get("to")) {
            ([one @ (Recipient::Caller | Recipient::Connection(_))], _) => one.clone(),
            (_, to) => return self.report(&format!("{path}.to"), to?, "must be one client: caller or connection:C"),
        };
        let step = Step::Ask { method: subject?, to, args: args?, timeout: timeout?, name };
        known.then_some(step)
    }

    /// Reads a template that must not be empty: the name of a method, a group, a user or a connection.
    fn template(&mut self, node: &ConfigNode, path: &str) -> Option<Template> {
        match &node.value {
            ConfigValue::Text(text) if text.is_empty() => self.report(path, node, "must not be empty"),
            ConfigValue::Text(text) => match template::parse(text, &self.names) {
                Ok(template) => Some(template),
                Err(expected) => self.report(path, node, expected),
            },
            _ => self.report(path, node, format!("must be a string, not {}", node.kind())),
        }
    }

    fn recipients(&mut self, node: &ConfigNode, path: &str) -> Option<Vec<Recipient>> {
        let one = std::slice::from_ref(node);
        let items = match &node.value {
            ConfigValue::List(items) => items.as_slice(),
            _ => one,
        };
        if items.is_empty() {
            return self.report(path, node, format!("must name a recipient: {}", RECIPIENTS.join(", ")));
        }
        let all: Vec<Option<Recipient>> = items.iter().map(|item| self.recipient(item, path)).collect();
        all.into_iter().collect()
    }

    fn recipient(&mut self, node: &ConfigNode, path: &str) -> Option<Recipient> {
        let ConfigValue::Text(text) = &node.value else {
            return self.report(path, node, format!("must be a string or a list of strings, not {}", node.kind()));
        };
        let made: fn(Template) -> Recipient = match (text.as_str(), text.split_once(':').map(|(kind, _)| kind)) {
            ("all", _) => return Some(Recipient::All),
            ("others", _) => return Some(Recipient::Others),
            ("caller", _) => return Some(Recipient::Caller),
            (_, Some("group")) => Recipient::Group,
            (_, Some("others_in_group")) => Recipient::OthersInGroup,
            (_, Some("user")) => Recipient::User,
            (_, Some("connection")) => Recipient::Connection,
            (text, kind) => {
                let kinds = RECIPIENTS.iter().map(|form| form.split(':').next().unwrap_or(form));
                let near = nearest(kind.unwrap_or(text), kinds)
                    .and_then(|near| RECIPIENTS.iter().find(|form| form.split(':').next() == Some(near)).copied());
                let hint = near.map(|form| format!("; did you mean \"{form}\"?")).unwrap_or_default();
                return self.report(path, node, format!("must be one of {}{hint}", RECIPIENTS.join(", ")));
            }
        };
        let rest = text.split_once(':').map_or("", |(_, rest)| rest);
        if rest.is_empty() {
            return self.report(path, node, "needs a name after the colon");
        }
        match template::parse(rest, &self.names) {
            Ok(template) => Some(made(template)),
            Err(expected) => self.report(path, node, expected),
        }
    }

    fn except(&mut self, node: &ConfigNode, to: Option<&[Recipient]>, path: &str) -> Option<Vec<Template>> {
        let takes_exceptions = |to: &Recipient| matches!(to, Recipient::All | Recipient::Group(_));
        if to.is_some_and(|to| !to.iter().all(takes_exceptions)) {
            return self.report(path, node, "is only possible if `to` is all or group:G");
        }
        let ConfigValue::List(items) = &node.value else {
            return self.report(path, node, "must be a list of connection ids, such as [\"{connection_id}\"]");
        };
        let all: Vec<Option<Template>> = items.iter().map(|item| self.template(item, path)).collect();
        all.into_iter().collect()
    }

    fn args(&mut self, node: &ConfigNode, path: &str) -> Option<Vec<Expression>> {
        let ConfigValue::List(items) = &node.value else {
            return self.report(path, node, format!("must be a list, not {}", node.kind()));
        };
        let all: Vec<Option<Expression>> = items.iter().map(|item| self.expression(item, path)).collect();
        all.into_iter().collect()
    }

    fn expression(&mut self, node: &ConfigNode, path: &str) -> Option<Expression> {
        Some(match &node.value {
            ConfigValue::Text(text) => match template::parse(text, &self.names) {
                Ok(template) => Expression::Text(template),
                Err(expected) => return self.report(path, node, expected),
            },
            ConfigValue::Integer(Some(number)) => Expression::Literal((*number).into()),
            ConfigValue::Integer(None) => return self.report(path, node, "must be an integer of at most 64 bits"),
            ConfigValue::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => Expression::Literal(number.into()),
                None => return self.report(path, node, "must be a finite number: JSON cannot represent nan and inf"),
            },
            ConfigValue::Boolean(value) => Expression::Literal((*value).into()),
            ConfigValue::Datetime(_) => {
                return self.report(path, node, "must be a string in quotes: the hub protocols have no dates");
            }
            ConfigValue::List(items) => {
                let all: Vec<Option<Expression>> = items.iter().map(|item| self.expression(item, path)).collect();
                Expression::List(all.into_iter().collect::<Option<_>>()?)
            }
            ConfigValue::Table(entries) => {
                let all: Vec<Option<(String, Expression)>> = entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), self.expression(&entry.node, path)?)))
                    .collect();
                Expression::Table(all.into_iter().collect::<Option<_>>()?)
            }
        })
    }
}
