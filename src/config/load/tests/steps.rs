//! Tests of methods and steps: how they are read, and the errors of those that are invalid.

use super::*;
use crate::config::steps::{Expression, Placeholder, Recipient, Step, Template, TemplatePart};

fn plain_text(text: &str) -> Template {
    Template(vec![TemplatePart::Text(text.to_owned())])
}

fn placeholder_only(placeholder: Placeholder) -> Template {
    Template(vec![TemplatePart::Placeholder(placeholder)])
}

#[test]
fn steps_are_read() {
    let loaded = file(
        r#"
        [hubs.a.methods.M]
        params = ["g", "x"]
        do = [
          { join = "{g}" },
          { leave = "fixed" },
          { send = "S", to = ["all", "group:{g}"], except = ["{connection_id}", "{x}"], args = ["{x}", 1, 2.5, true, ["{g}"], { K = "v" }] },
          { send = "{g}", to = "others" },
          { send = "S", to = ["caller", "others_in_group:{g}", "user:{user_id}", "connection:a:b"] },
        ]
        returns = { Who = "{user_id}", list = [1, "{x}"], text = "{{{hub}}}" }
        [[hubs.a.on_connected]]
        send = "Hi"
        to = "caller"
        "#,
    )
    .unwrap();
    let hub = &loaded.config.hubs[0];
    let (g, x) = (Placeholder::Param(0), Placeholder::Param(1));
    let send = |method, to| Step::Send { method, to, except: Vec::new(), args: Vec::new() };
    assert_eq!(
        hub.methods[0].steps,
        [
            Step::Join { group: placeholder_only(g) },
            Step::Leave { group: plain_text("fixed") },
            Step::Send {
                method: plain_text("S"),
                to: vec![Recipient::All, Recipient::Group(placeholder_only(g))],
                except: vec![placeholder_only(Placeholder::ConnectionId), placeholder_only(x)],
                args: vec![
                    Expression::Text(placeholder_only(x)),
                    Expression::Literal(1.into()),
                    Expression::Literal(2.5.into()),
                    Expression::Literal(true.into()),
                    Expression::List(vec![Expression::Text(placeholder_only(g))]),
                    Expression::Table(vec![("K".to_owned(), Expression::Text(plain_text("v")))]),
                ],
            },
            send(placeholder_only(g), vec![Recipient::Others]),
            send(
                plain_text("S"),
                vec![
                    Recipient::Caller,
                    Recipient::OthersInGroup(placeholder_only(g)),
                    Recipient::User(placeholder_only(Placeholder::UserId)),
                    Recipient::Connection(plain_text("a:b")),
                ]
            ),
        ]
    );
    let brace = |text: &str| TemplatePart::Text(text.to_owned());
    assert_eq!(
        hub.methods[0].returns,
        Some(Expression::Table(vec![
            ("Who".to_owned(), Expression::Text(placeholder_only(Placeholder::UserId))),
            (
                "list".to_owned(),
                Expression::List(vec![Expression::Literal(1.into()), Expression::Text(placeholder_only(x))])
            ),
            (
                "text".to_owned(),
                Expression::Text(Template(vec![brace("{"), TemplatePart::Placeholder(Placeholder::Hub), brace("}")]))
            ),
        ]))
    );
    assert_eq!(hub.on_connected, [send(plain_text("Hi"), vec![Recipient::Caller])]);
}

#[test]
fn invalid_steps_say_what_would_be_valid() {
    let forms = "all, others, caller, group:G, others_in_group:G, user:U, connection:C";
    for (step, key, expected) in [
        ("\"join\"", "", "= \"join\": must be a table, such as { send = \"News\", to = \"all\" }".to_owned()),
        ("{}", "", "= {}: must have a verb: send, ask, join or leave".to_owned()),
        ("{ sned = \"x\", to = \"all\" }", ".sned", "unknown key of a step; did you mean `send`?".to_owned()),
        ("{ kick = \"x\" }", ".kick", "unknown key of a step; known: send, ask, join, leave, to, args, except, timeout, as".to_owned()),
        ("{ join = \"x\", leave = \"y\" }", "", "= { join = \"x\", leave = \"y\" }: must have one verb, not join and leave; write two steps".to_owned()),
        ("{ join = \"x\", to = \"all\" }", "", "= { join = \"x\", to = \"all\" }: `to` belongs to `send` and `ask`, not to `join`".to_owned()),
        ("{ join = 1 }", ".join", "= 1: must be a string, not an integer".to_owned()),
        ("{ join = \"\" }", ".join", "= \"\": must not be empty".to_owned()),
        ("{ send = \"x\" }", "", format!("= {{ send = \"x\" }}: needs `to`: {forms}")),
        ("{ send = \"x\", to = \"grup:a\" }", ".to", format!("= \"grup:a\": must be one of {forms}; did you mean \"group:G\"?")),
        ("{ send = \"x\", to = \"All\" }", ".to", format!("= \"All\": must be one of {forms}; did you mean \"all\"?")),
        ("{ send = \"x\", to = \"zzzzzzzz\" }", ".to", format!("= \"zzzzzzzz\": must be one of {forms}")),
        ("{ send = \"x\", to = \"group:\" }", ".to", "= \"group:\": needs a name after the colon".to_owned()),
        ("{ send = \"x\", to = \"group\" }", ".to", format!("= \"group\": must be one of {forms}; did you mean \"group:G\"?")),
        ("{ send = \"x\", to = [] }", ".to", format!("= []: must name a recipient: {forms}")),
        ("{ send = \"x\", to = [1] }", ".to", "= 1: must be a string or a list of strings, not an integer".to_owned()),
        ("{ send = \"x\", to = \"others\", except = [\"a\"] }", ".except", "= [\"a\"]: is only possible if `to` is all or group:G".to_owned()),
        ("{ send = \"x\", to = [\"all\", \"user:a\"], except = [] }", ".except", "= []: is only possible if `to` is all or group:G".to_owned()),
        ("{ send = \"x\", to = \"all\", except = \"a\" }", ".except", "= \"a\": must be a list of connection ids, such as [\"{connection_id}\"]".to_owned()),
        ("{ send = \"x\", to = \"all\", args = \"a\" }", ".args", "= \"a\": must be a list, not a string".to_owned()),
        ("{ send = \"x\", to = \"all\", args = [2024-01-01] }", ".args", "= 2024-01-01: must be a string in quotes: the hub protocols have no dates".to_owned()),
        ("{ send = \"x\", to = \"all\", args = [[nan]] }", ".args", "= NaN: must be a finite number: JSON cannot represent nan and inf".to_owned()),
        ("{ send = \"x\", to = \"all\", args = [99999999999999999999] }", ".args", "= an integer of more than 64 bits: must be an integer of at most 64 bits".to_owned()),
        ("{ send = \"x\", to = \"all\", args = [\"a}\"] }", ".args", "= \"a}\": has a lone }; write }} for a literal brace".to_owned()),
        ("{ send = \"x\", to = \"group:{rom}\" }", ".to", "= \"group:{rom}\": has an unknown placeholder {rom}; did you mean {room}? known here: {room}, {connection_id}, {user_id}, {hub}".to_owned()),
    ] {
        let source = format!("[hubs.a.methods.M]\nparams = [\"room\"]\ndo = [\n  {{ join = \"g\" }},\n  {step},\n]");
        let divider = if expected.starts_with('=') { " " } else { ": " };
        let text = format!("hubplane.toml:5: hubs.a.methods.M.do[1]{key}{divider}{expected}");
        assert_eq!(problems(file(&source)), [text], "{step}");
    }
}

#[test]
fn invalid_methods_say_what_would_be_valid() {
    for (method, expected) in [
        ("[hubs.a.methods.M]", "1: hubs.a.methods.M: does nothing: give it steps in `do`, or a value in `returns`"),
        (
            "[hubs.a.methods.M]\ndo = []",
            "1: hubs.a.methods.M: does nothing: give it steps in `do`, or a value in `returns`",
        ),
        (
            "[hubs.a.methods.M]\ndo = { join = \"x\" }",
            "2: hubs.a.methods.M.do = { join = \"x\" }: must be a list of steps, such as [{ send = \"News\", to = \"all\" }]",
        ),
        ("[hubs.a.methods]\nM = 1\n", "2: hubs.a.methods.M = 1: must be a table, not an integer"),
        (
            "[hubs.a.methods.M]\nparams = [\"user_id\"]\nreturns = 1",
            "2: hubs.a.methods.M.params = [\"user_id\"]: \"user_id\" is a built-in placeholder; choose another name",
        ),
        (
            "[hubs.a.methods.M]\nparams = [\"x\", \"x\"]\nreturns = 1",
            "2: hubs.a.methods.M.params = [\"x\", \"x\"]: \"x\" is used twice; each name must be unique",
        ),
        (
            "[hubs.a.methods.M]\nparams = [\"a b\"]\nreturns = 1",
            "2: hubs.a.methods.M.params = [\"a b\"]: \"a b\" is not a valid name; use letters, digits and _",
        ),
        (
            "[hubs.a.methods.M]\nparams = [1]\nreturns = 1",
            "2: hubs.a.methods.M.params = [1]: must be a string, not an integer",
        ),
        (
            "[hubs.a.methods.M]\nreturns = \"{x}\"",
            "2: hubs.a.methods.M.returns = \"{x}\": has an unknown placeholder {x}; known here: {connection_id}, {user_id}, {hub}",
        ),
        (
            "[hubs.a.methods.M]\nreturns = 12:00:00",
            "2: hubs.a.methods.M.returns = 12:00:00: must be a string in quotes: the hub protocols have no dates",
        ),
        (
            "[hubs.a.methods.Echo]\nreturns = 1\n[hubs.a.methods.echo]\nreturns = 1",
            "3: hubs.a.methods.echo: differs from the method \"Echo\" only in case; method names are case-insensitive",
        ),
        (
            "[hubs.a]\non_connected = [{ send = \"x\", to = \"all\", args = [\"{room}\"] }]",
            "2: hubs.a.on_connected[0].args = \"{room}\": has an unknown placeholder {room}; known here: {connection_id}, {user_id}, {hub}",
        ),
    ] {
        assert_eq!(problems(file(method)), [format!("hubplane.toml:{expected}")], "{method}");
    }
}

#[test]
fn streams_uploads_and_asks_are_read() {
    let loaded = file(
        r#"
        [hubs.a.methods.Watch]
        params = ["g"]
        streams = "group:room-{g}"
        [hubs.a.methods.Import]
        params = ["g"]
        upload = "item"
        each = [{ ask = "Check", to = "caller", args = ["{item}"], as = "verdict" }, { join = "{verdict}" }]
        do = [{ ask = "{g}", to = "connection:{g}", timeout = "5s", as = "answer" }]
        returns = "{answer}"
        "#,
    )
    .unwrap();
    let param = |index| placeholder_only(Placeholder::Param(index));
    let [watch, import] = loaded.config.hubs[0].methods.as_slice() else { panic!("two methods") };
    let group =
        Template(vec![TemplatePart::Text("room-".to_owned()), TemplatePart::Placeholder(Placeholder::Param(0))]);
    assert_eq!((&watch.streams, &watch.steps, &watch.upload), (&Some(group), &vec![], &None));
    let upload = import.upload.as_ref().unwrap();
    assert_eq!(upload.item, "item");
    assert_eq!(
        upload.each,
        [
            Step::Ask {
                method: plain_text("Check"),
                to: Recipient::Caller,
                args: vec![Expression::Text(param(1))],
                timeout: Duration::from_secs(30),
                name: Some("verdict".to_owned()),
            },
            Step::Join { group: param(2) },
        ]
    );
    let ask = Step::Ask {
        method: param(0),
        to: Recipient::Connection(param(0)),
        args: vec![],
        timeout: Duration::from_secs(5),
        name: Some("answer".to_owned()),
    };
    assert_eq!(import.steps, [ask]);
    assert_eq!(import.returns, Some(Expression::Text(param(1))), "the item cannot be used here");
}

#[test]
fn invalid_streams_uploads_and_asks_say_what_would_be_valid() {
    let m = "[hubs.a.methods.M]\n";
    for (method, expected) in [
        ("streams = \"all\"", "2: hubs.a.methods.M.streams = \"all\": must be a group, as in \"group:{room}\""),
        (
            "streams = \"group:g\"\nreturns = 1",
            "2: hubs.a.methods.M.streams = \"group:g\": must be alone: a method that streams has neither `returns` nor `upload`",
        ),
        (
            "streams = \"group:{answer}\"\ndo = [{ ask = \"A\", to = \"caller\", as = \"answer\" }]",
            "2: hubs.a.methods.M.streams = \"group:{answer}\": has an unknown placeholder {answer}; known here: {connection_id}, {user_id}, {hub}",
        ),
        ("upload = \"item\"", "2: hubs.a.methods.M.upload = \"item\": needs `each`: the steps for each item"),
        (
            "each = [{ join = \"g\" }]",
            "2: hubs.a.methods.M.each = [{ join = \"g\" }]: needs `upload`: the name of an item, as in upload = \"item\"",
        ),
        (
            "upload = \"hub\"\neach = []",
            "2: hubs.a.methods.M.upload = \"hub\": \"hub\" is a built-in placeholder; choose another name",
        ),
        (
            "upload = \"x\"\neach = []\nreturns = \"{x}\"",
            "4: hubs.a.methods.M.returns = \"{x}\": has an unknown placeholder {x}; known here: {connection_id}, {user_id}, {hub}",
        ),
        ("do = [{ ask = \"A\" }]", "2: hubs.a.methods.M.do[0] = { ask = \"A\" }: needs `to`: caller or connection:C"),
        (
            "do = [{ ask = \"A\", to = \"all\" }]",
            "2: hubs.a.methods.M.do[0].to = \"all\": must be one client: caller or connection:C",
        ),
        (
            "do = [{ ask = \"A\", to = \"caller\", timeout = \"0s\" }]",
            "2: hubs.a.methods.M.do[0].timeout = \"0s\": must be longer than zero",
        ),
        (
            "do = [{ ask = \"A\", to = \"caller\", as = \"a\" }, { ask = \"A\", to = \"caller\", as = \"a\" }]",
            "2: hubs.a.methods.M.do[1].as = \"a\": \"a\" is used twice; each name must be unique",
        ),
        (
            "do = [{ ask = \"A\", to = \"caller\", args = [\"{a}\"], as = \"a\" }]",
            "2: hubs.a.methods.M.do[0].args = \"{a}\": has an unknown placeholder {a}; known here: {connection_id}, {user_id}, {hub}",
        ),
        (
            "do = [{ send = \"A\", to = \"all\", as = \"a\" }]",
            "2: hubs.a.methods.M.do[0] = { send = \"A\", to = \"all\", as = \"a\" }: `as` belongs to `ask`, not to `send`",
        ),
    ] {
        assert_eq!(problems(file(&format!("{m}{method}"))), [format!("hubplane.toml:{expected}")], "{method}");
    }
    let hook = "[hubs.a]\non_connected = [{ ask = \"A\", to = \"caller\" }]";
    let text = "hubplane.toml:2: hubs.a.on_connected[0] = { ask = \"A\", to = \"caller\" }: must not `ask`: a client cannot answer before it is connected, nor after it has disconnected";
    assert_eq!(problems(file(hook)), [text]);
}

#[test]
fn all_problems_are_reported_together() {
    let found = problems(file(
        "listen = 1\nlisten2 = 1\n[hubs.a]\npath = \"x\"\n[hubs.a.methods.M]\ndo = [{ join = \"{x}\" }, { leave = \"{y}\" }]\n[hubs.b]\nprotocols = []",
    ));
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap_or_default()).collect();
    let expected = [
        "hubplane.toml:1",
        "hubplane.toml:4",
        "hubplane.toml:6",
        "hubplane.toml:6",
        "hubplane.toml:8",
        "hubplane.toml:2",
    ];
    assert_eq!(places, expected, "{found:#?}");
}
