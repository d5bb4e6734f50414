//! Reads methods and their steps (design.md section 3). The verb set is closed: `send`, `join`, `leave`.

use super::guard::{read_allowed_groups, read_authorize};
use super::node::{Node, Value};
use super::parse;
use super::problem::{nearest, suggestion};
use super::reader::{Reader, Table};
use super::steps::{Expression, MethodConfig, Recipient, Step, Template};
use super::template::{self, BUILT_IN};

const VERBS: &[&str] = &["send", "join", "leave"];
const STEP_KEYS: &[&str] = &["send", "join", "leave", "to", "args", "except"];
const RECIPIENTS: &[&str] = &["all", "others", "caller", "group:G", "others_in_group:G", "user:U", "connection:C"];

/// What the steps of a list may name.
struct Scope<'a> {
    reader: &'a mut Reader,
    params: &'a [String],
}

/// `[hubs.NAME.methods.METHOD]`.
/// `checked` tells whether there are keys to check tokens with.
pub(super) fn read_method(reader: &mut Reader, name: String, node: Node, path: String, checked: bool) -> MethodConfig {
    let origin = node.origin.clone();
    let is_table = matches!(node.value, Value::Table(_));
    let mut table = reader.table(Some(node), path);
    if name.trim().is_empty() {
        reader.problems.push(super::Problem::of_key(table.path.clone(), Some(origin.clone()), "a method needs a name"));
    }
    let params = read_params(reader, &mut table);
    let authorize = read_authorize(reader, &mut table, checked);
    let allowed_groups = read_allowed_groups(reader, &mut table);
    let given = table.remove("do");
    let steps = read_steps(reader, given, table.key("do"), &params);
    let key = table.key("returns");
    let returns = table.remove("returns").and_then(|node| {
        let value = Scope { reader, params: &params }.expression(&node, &key);
        reader.note(key.clone(), node.to_string(), node.origin);
        value.map(Some).unwrap_or(Some(Expression::List(Vec::new())))
    });
    // Steps that were wrong have been reported; only a list that holds none is empty.
    if is_table && steps.as_ref().is_some_and(Vec::is_empty) && returns.is_none() {
        let text = "does nothing: give it steps in `do`, or a value in `returns`";
        reader.problems.push(super::Problem::of_key(table.path.clone(), Some(origin), text));
    }
    reader.finish(table, super::keys::METHOD);
    MethodConfig { name, params, authorize, allowed_groups, steps: steps.unwrap_or_default(), returns }
}

fn read_params(reader: &mut Reader, table: &mut Table) -> Vec<String> {
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
        let shown = super::node::quoted(name);
        let wrong = if BUILT_IN.iter().any(|(built_in, _)| built_in == name) {
            "is a built-in placeholder; call the parameter something else"
        } else if names[..index].contains(name) {
            "stands there twice; each parameter needs its own name"
        } else if name.is_empty() || name.contains(|c: char| c == '{' || c == '}' || c.is_whitespace()) {
            "is no name; use letters, digits and _"
        } else {
            continue;
        };
        reader.problem(key.clone(), &node, format!("{shown} {wrong}"));
    }
    names
}

/// A list of steps; None if something in it is wrong.
pub(super) fn read_steps(
    reader: &mut Reader,
    node: Option<Node>,
    path: String,
    params: &[String],
) -> Option<Vec<Step>> {
    let Some(node) = node else { return Some(Vec::new()) };
    reader.note(path.clone(), node.to_string(), node.origin.clone());
    let Value::List(items) = &node.value else {
        reader.problem(path, &node, "must be a list of steps, such as [{ send = \"News\", to = \"all\" }]");
        return None;
    };
    let mut scope = Scope { reader, params };
    let steps: Vec<Option<Step>> =
        items.iter().enumerate().map(|(index, item)| scope.step(item, &format!("{path}[{index}]"))).collect();
    steps.into_iter().collect()
}

impl Scope<'_> {
    fn wrong<T>(&mut self, key: &str, node: &Node, expected: impl Into<String>) -> Option<T> {
        self.reader.problem(key, node, expected);
        None
    }

    fn step(&mut self, node: &Node, path: &str) -> Option<Step> {
        let Value::Table(entries) = &node.value else {
            return self.wrong(path, node, "must be a table, such as { send = \"News\", to = \"all\" }");
        };
        let mut known = true;
        for entry in entries.iter().filter(|entry| !STEP_KEYS.contains(&entry.key.as_str())) {
            known = false;
            let hint = suggestion(&entry.key, STEP_KEYS);
            let origin = Some(entry.origin.clone());
            let key = super::node::join(path, &entry.key);
            self.reader.problems.push(super::Problem::of_key(key, origin, format!("unknown key of a step; {hint}")));
        }
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
        let verbs: Vec<&str> = VERBS.iter().copied().filter(|verb| get(verb).is_some()).collect();
        let verb = match verbs.as_slice() {
            [verb] => *verb,
            [] if !known => return None,
            [] => return self.wrong(path, node, "must have a verb: send, join or leave"),
            _ => {
                let text = format!("must have one verb, not {}; write two steps", verbs.join(" and "));
                return self.wrong(path, node, text);
            }
        };
        if verb != "send"
            && let Some(extra) = ["to", "args", "except"].into_iter().find(|key| get(key).is_some())
        {
            return self.wrong(path, node, format!("`{extra}` belongs to `send`, not to `{verb}`"));
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
            None => self.wrong(path, node, format!("needs `to`: {}", RECIPIENTS.join(", "))),
        };
        let except = match get("except") {
            Some(list) => self.except(list, to.as_deref(), &format!("{path}.except")),
            None => Some(Vec::new()),
        };
        let args = match get("args") {
            Some(list) => self.args(list, &format!("{path}.args")),
            None => Some(Vec::new()),
        };
        let step = Step::Send { method: subject?, to: to?, except: except?, args: args? };
        known.then_some(step)
    }

    /// A template that must not be empty: it names a method, a group, a user or a connection.
    fn template(&mut self, node: &Node, path: &str) -> Option<Template> {
        match &node.value {
            Value::Text(text) if text.is_empty() => self.wrong(path, node, "must not be empty"),
            Value::Text(text) => match template::parse(text, self.params) {
                Ok(template) => Some(template),
                Err(expected) => self.wrong(path, node, expected),
            },
            _ => self.wrong(path, node, format!("must be a string, not {}", node.kind())),
        }
    }

    fn recipients(&mut self, node: &Node, path: &str) -> Option<Vec<Recipient>> {
        let one = std::slice::from_ref(node);
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => one,
        };
        if items.is_empty() {
            return self.wrong(path, node, format!("must name somebody: {}", RECIPIENTS.join(", ")));
        }
        let all: Vec<Option<Recipient>> = items.iter().map(|item| self.recipient(item, path)).collect();
        all.into_iter().collect()
    }

    fn recipient(&mut self, node: &Node, path: &str) -> Option<Recipient> {
        let Value::Text(text) = &node.value else {
            return self.wrong(path, node, format!("must be a string or a list of strings, not {}", node.kind()));
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
                return self.wrong(path, node, format!("must be one of {}{hint}", RECIPIENTS.join(", ")));
            }
        };
        let rest = text.split_once(':').map_or("", |(_, rest)| rest);
        if rest.is_empty() {
            return self.wrong(path, node, "needs a name after the colon");
        }
        match template::parse(rest, self.params) {
            Ok(template) => Some(made(template)),
            Err(expected) => self.wrong(path, node, expected),
        }
    }

    fn except(&mut self, node: &Node, to: Option<&[Recipient]>, path: &str) -> Option<Vec<Template>> {
        let counts = |to: &Recipient| matches!(to, Recipient::All | Recipient::Group(_));
        if to.is_some_and(|to| !to.iter().all(counts)) {
            return self.wrong(path, node, "goes with `to` of all and group:G only");
        }
        let Value::List(items) = &node.value else {
            return self.wrong(path, node, "must be a list of connection ids, such as [\"{connection_id}\"]");
        };
        let all: Vec<Option<Template>> = items.iter().map(|item| self.template(item, path)).collect();
        all.into_iter().collect()
    }

    fn args(&mut self, node: &Node, path: &str) -> Option<Vec<Expression>> {
        let Value::List(items) = &node.value else {
            return self.wrong(path, node, format!("must be a list, not {}", node.kind()));
        };
        let all: Vec<Option<Expression>> = items.iter().map(|item| self.expression(item, path)).collect();
        all.into_iter().collect()
    }

    fn expression(&mut self, node: &Node, path: &str) -> Option<Expression> {
        Some(match &node.value {
            Value::Text(text) => match template::parse(text, self.params) {
                Ok(template) => Expression::Text(template),
                Err(expected) => return self.wrong(path, node, expected),
            },
            Value::Integer(Some(number)) => Expression::Literal((*number).into()),
            Value::Integer(None) => return self.wrong(path, node, "must be an integer of 64 bits at most"),
            Value::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => Expression::Literal(number.into()),
                None => return self.wrong(path, node, "must be a finite number: nan and inf have no form in JSON"),
            },
            Value::Boolean(value) => Expression::Literal((*value).into()),
            Value::Datetime(_) => {
                return self.wrong(path, node, "must be a string in quotes: a date has no form in the hub protocols");
            }
            Value::List(items) => {
                let all: Vec<Option<Expression>> = items.iter().map(|item| self.expression(item, path)).collect();
                Expression::List(all.into_iter().collect::<Option<_>>()?)
            }
            Value::Table(entries) => {
                let all: Vec<Option<(String, Expression)>> = entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), self.expression(&entry.node, path)?)))
                    .collect();
                Expression::Table(all.into_iter().collect::<Option<_>>()?)
            }
        })
    }
}
