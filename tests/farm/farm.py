#!/usr/bin/env python3
"""A farm of different servers on one Redis: every kind of send, from every node, reaches exactly the clients that it should on every node.

    python3 farm.py --full aspnet=http://127.0.0.1:5000 --full rust=http://127.0.0.1:5001 --chat replica=http://127.0.0.1:5002 \\
                    [--stranger other=http://127.0.0.1:5003] [--context aspnet]

A `--full` node offers one method per kind of send (SendAll ... SendUsers, AddToGroup, RemoveFromGroup, Ask) beside the chat, and takes the
user from the query's `user`; a `--chat` node offers only the declared chat; the clients of a `--stranger`, which uses another channel prefix,
must receive nothing; `--context` names a full node that also has `POST /send` and `POST /group`. Each node has one JSON and one MessagePack
client. Prints one line per failed cell, and then one line of counts. The exit code is 0 if nothing failed.
"""
import argparse
import collections
import itertools
import json
import pathlib
import sys
import time
import traceback
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients"))
from kinds import command  # noqa: E402
from lines import Driver, Failed, Mismatch, check  # noqa: E402
from watch import Watch  # noqa: E402

ACK = 1.0  # seconds that a group change on another node may take
QUIET = 0.4  # seconds in which a message that must not arrive could still arrive
tags = (f"t{number}" for number in itertools.count(1))


class Farm:
    def __init__(self, driver, full, chat, strangers):
        self.driver, self.clients, self.strangers = driver, {}, {}
        for name, url, kind in [(*node, "full") for node in full] + [(*node, "chat") for node in chat] + [(*node, "stranger") for node in strangers]:
            for protocol in ("json", "messagepack"):
                client = driver.connect(f"{url}/chat?user={name}", transport="WebSockets", protocol=protocol)
                client.label, client.node, client.kind, client.protocol = f"{name}/{protocol}", name, kind, protocol
                (self.strangers if kind == "stranger" else self.clients)[client.label] = client
        for client in self.clients.values():
            driver.ask("handle", client.name, method="Answer", count=1, echo=True, refuse="refused")
        # Every new client is announced to those before it: when the first client has received all announcements, all are subscribed.
        first, *later = self.clients.values()
        for client in later:
            first.expect("UserConnected", client.id)

    def others(self, client):
        return [other for other in self.clients.values() if other is not client]

    def users(self, *names):
        return [client for client in self.clients.values() if client.kind == "full" and client.node in names]

    def settle(self, sender):
        """Waits until everything that was sent before has arrived, which is when a later broadcast has."""
        mark = next(tags)
        sender.call("SendMessage", "mark", mark)
        for client in self.clients.values():
            client.expect("ReceiveMessage", "mark", mark)
        time.sleep(QUIET)  # messages that must not arrive might take another way than the broadcast


def value(tag):
    return {"tag": tag, "text": "hé☃😀\u2028<&>", "list": [1, None, 1.5, True, {"deep": [[]]}], "big": 2**53 - 1, "none": None}


def receivers_of(farm, tag):
    """How often each client, including those of strangers, was called with this tag."""
    count = collections.Counter()
    for client in [*farm.clients.values(), *farm.strangers.values()]:
        for event in client.events:
            if event["event"] == "message" and tag in json.dumps(event["args"]):
                count[client.label] += 1
    return count


def play(farm, sender, sends):
    """Makes all sends ([what, act(tag), receivers, event]), waits until each has arrived, and then compares who has received it. Returns
    (what, None or the failure) for each."""
    results, waiting = [], []
    for what, act, receivers, event in sends:
        tag = next(tags) + "-"  # no tag is part of another
        try:
            act(tag)
            waiting.append((what, tag, receivers, event))
        except (Failed, Mismatch) as failure:
            results.append((what, f"{type(failure).__name__.lower()}: {failure}"))
    missing = {}
    for what, tag, receivers, event in waiting:
        try:
            for client in receivers:
                client.expect(*event(tag, client))
        except Mismatch as mismatch:
            missing[tag] = str(mismatch)
    farm.settle(sender)
    for what, tag, receivers, _ in waiting:
        want, seen = collections.Counter(client.label for client in receivers), receivers_of(farm, tag)
        if tag in missing or want != seen:
            results.append((what, missing.get(tag) or f"expected to arrive at {dict(want)}, arrived at {dict(seen)}"))
        else:
            results.append((what, None))
    return results


def received(kind):
    return lambda tag, client: ("Received", kind, value(tag))


def every_send(farm, sender):
    """One of each kind of send, from this client."""
    everyone, others = list(farm.clients.values()), farm.others(sender)
    some, rest = others[::2], others[1::2]
    group, second, user_names = f"g {sender.label} é", f"h {sender.label}", sorted({c.node for c in everyone if c.kind == "full"})
    members, seconds = [sender, *some], rest[:2] + some[:1]
    for client in members:
        sender.call("AddToGroup", client.id, group)
    for client in seconds:
        sender.call("AddToGroup", client.id, second)

    def ids(clients):
        return [client.id for client in clients]

    def call(method, *before):
        return lambda tag: sender.call(method, *before, value(tag))
    sends = [
        ("SendAll", call("SendAll"), everyone, received("all")),
        ("SendOthers", call("SendOthers"), others, received("others")),
        ("SendCaller", call("SendCaller"), [sender], received("caller")),
        ("SendAllExcept", call("SendAllExcept", ids(some)), [sender, *rest], received("allExcept")),
        ("SendAllExcept nobody", call("SendAllExcept", []), everyone, received("allExcept")),
        ("SendConnections", call("SendConnections", ids(rest)), rest, received("connections")),
        ("SendConnection nowhere", call("SendConnection", "A" * 22), [], received("connection")),
        ("SendGroup", call("SendGroup", group), members, received("group")),
        ("SendGroup empty", call("SendGroup", "nobody is here"), [], received("group")),
        ("SendGroup other case", call("SendGroup", group.upper()), [], received("group")),
        ("SendGroups", call("SendGroups", [group, second]), members + seconds, received("groups")),
        ("SendGroupExcept", call("SendGroupExcept", group, ids(some[:1])), [c for c in members if c not in some[:1]], received("groupExcept")),
        ("SendOthersInGroup", call("SendOthersInGroup", group), some, received("othersInGroup")),
        ("SendUsers", call("SendUsers", user_names), farm.users(*user_names), received("users")),
        ("SendUser nobody", call("SendUser", "nobody"), [], received("user")),
        ("SendMany", lambda tag: sender.call("SendMany", tag, None, [1, "x"]), everyone, lambda tag, _: ("Many", tag, None, [1, "x"])),
        ("SendMessage", lambda tag: sender.call("SendMessage", tag, "hé 😀"), everyone, lambda tag, _: ("ReceiveMessage", tag, "hé 😀")),
    ]
    sends += [(f"SendConnection {c.label}", call("SendConnection", c.id), [c], received("connection")) for c in everyone]
    sends += [(f"SendUser {name}", call("SendUser", name), farm.users(name), received("user")) for name in user_names]
    if sender.protocol == "messagepack":
        def as_seen(tag, client):
            return ("Received", "all", [tag, "AAH/" if client.protocol == "json" else {"$bytes": "AAH/"}])
        sends.append(("SendAll binary", lambda tag: sender.call("SendAll", [tag, {"$bytes": "AAH/"}]), everyone, as_seen))
    return sends


def rooms(farm, sender):
    """What a node with only the declared chat can do: broadcasts, and rooms with members on every node."""
    room, everyone = f"room {sender.label}", list(farm.clients.values())
    for client in [sender, *farm.others(sender)]:
        client.call("JoinRoom", room)
        sender.expect("Notice", f"{client.id} joined {room}")
    *members, gone = [sender, *farm.others(sender)]
    gone.call("LeaveRoom", room)
    return [
        ("SendMessage", lambda tag: sender.call("SendMessage", tag, "text"), everyone, lambda tag, _: ("ReceiveMessage", tag, "text")),
        ("SendToRoom", lambda tag: sender.call("SendToRoom", room, tag), [c for c in members if c is not sender], lambda tag, _: ("ReceiveMessage", room, tag)),
        ("SendToRoom of nobody", lambda tag: sender.call("SendToRoom", "nobody is here", tag), [], None),
    ]


def group_changes(farm, sender):
    """Group membership of connections, also of other nodes: changed and acknowledged within a second."""
    for client in farm.others(sender):
        group = f"moved by {sender.label} {client.label}"
        for method in ("AddToGroup", "RemoveFromGroup"):
            name, watch = f"{method} {client.label}", Watch()
            try:
                sender.call(method, client.id, group)
                if took := watch.over(ACK):
                    raise Mismatch(f"expected an acknowledgement within {ACK:g} s, it took {took:.1f} s")
                tag = next(tags) + "-"
                sender.call("SendGroup", group, value(tag))
                if method == "AddToGroup":
                    client.expect("Received", "group", value(tag))
                else:
                    farm.settle(sender)
                    check("who receives a message of a group without members", {}, dict(receivers_of(farm, tag)))
                yield name, None
            except (Failed, Mismatch) as failure:
                yield name, f"{type(failure).__name__.lower()}: {failure}"


def questions(farm, sender):
    """Client results: every node invokes a method of every client, and gets the answer, the error, or an error because there is no such client."""
    for client in farm.clients.values():
        try:
            check("the answer", value("question"), sender.invoke("Ask", client.id, value("question")))
            refused = sender.error_of("Ask", client.id, "refuse")
            check("the error", lambda text: text.endswith("HubException: Error: refused"), refused)
            yield f"Ask {client.label}", None
        except (Failed, Mismatch) as failure:
            yield f"Ask {client.label}", f"{type(failure).__name__.lower()}: {failure}"
    missing = sender.error_of("Ask", "A" * 22, 1)
    check("a question to a connection that does not exist", lambda text: text.startswith("An unexpected error occurred invoking 'Ask' on the server."), missing)
    yield "Ask nobody", None


def context_sends(farm, url):
    """Sends from outside of a hub, as IHubContext makes them."""
    def post(path, body=None, **query):
        request = urllib.request.Request(f"{url}{path}?{urllib.parse.urlencode(query)}", method="POST",
                                         data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except OSError as error:
            raise Failed(str(error)) from error

    def send(to, **query):
        return lambda tag: post("/send", ["context", value(tag)], to=to, target="Received", **query)
    everyone = list(farm.clients.values())
    for client in everyone:
        post("/group", op="add", connection=client.id, group="of the context")
    sends = [
        ("context all", send("all"), everyone, received("context")),
        ("context all but one", send("all", **{"except": everyone[-1].id}), everyone[:-1], received("context")),
        ("context group", send("group:of the context"), everyone, received("context")),
        ("context group but one", send("group:of the context", **{"except": everyone[0].id}), everyone[1:], received("context")),
    ]
    sends += [(f"context connection {c.label}", send(f"connection:{c.id}"), [c], received("context")) for c in everyone]
    sends += [(f"context user {n}", send(f"user:{n}"), farm.users(n), received("context")) for n in sorted({c.node for c in everyone if c.kind == "full"})]
    return sends


def node(text):
    name, _, url = text.partition("=")
    return name, url


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--full", "--chat", "--stranger"):
        parser.add_argument(flag, action="append", type=node, default=[])
    parser.add_argument("--context", action="append", default=[])
    parser.add_argument("--client", default="js10")
    parser.add_argument("--peers")
    args = parser.parse_args()
    driver = Driver(command(args.client, args.peers, sys.executable, None))
    passed = failed = 0

    def report(where, results):
        nonlocal passed, failed
        try:
            for what, failure in results:
                failed, passed = failed + bool(failure), passed + (not failure)
                if failure:
                    print(f"FAILED {where} {what}: {failure}", flush=True)
        except (Failed, Mismatch) as failure:
            failed += 1
            print(f"FAILED {where}: {failure}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {where}: {traceback.format_exc()}", flush=True)

    def lazily(make):  # so that a preparation that fails is a failed cell too
        yield from make()
    try:
        farm = Farm(driver, args.full, args.chat, args.stranger)
        for sender in farm.clients.values():
            plan = every_send if sender.kind == "full" else rooms
            report(sender.label, lazily(lambda: play(farm, sender, plan(farm, sender))))
            if sender.kind == "full":
                report(sender.label, lazily(lambda: play(farm, sender, rooms(farm, sender))))
                report(sender.label, group_changes(farm, sender))
                report(sender.label, questions(farm, sender))
        for name in args.context:
            sender = next(c for c in farm.clients.values() if c.node == name)
            report(name, lazily(lambda: play(farm, sender, context_sends(farm, dict(args.full)[name]))))
        for stranger in farm.strangers.values():
            theirs = {event["args"][0] for event in stranger.heard("UserConnected")} & {c.id for c in farm.clients.values()}
            report(stranger.label, [("receives nothing of the farm", f"was notified of {theirs}" if theirs else None)])
    except (Failed, Mismatch) as failure:
        print(f"FAILED before the first cell: {failure}")
        failed += 1
    finally:
        driver.end()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
