#!/usr/bin/env python3
"""Every scenario over every client, transport and protocol.

    python3 scenarios.py --base http://127.0.0.1:8080 [--base2 http://127.0.0.1:8081] --client js10 --client pysignalr
    python3 scenarios.py --whole --base http://127.0.0.1:5000 --side http://127.0.0.1:5001 --client js10

The client under test is `a`, on --base; `b` is another connection of the same client, on --base2 and of the other protocol.
The servers are expected to offer the chat of the built-in configuration at /chat, with a keep-alive of one second and detailed errors off.
With --whole they offer the whole ChatHub (examples/farm.rs, ASP.NET Core's test server), and calls and endings are played, too; --side then
names a server with the hubs of examples/conformance. One line a failed cell, with what was expected and seen; then one line of counts.
What fails by a client's own defect (defects.py) is counted as skipped. Exit code 0 when nothing failed.
"""
import argparse
import os
import sys
import threading
import time
import traceback

from calls import CALLS, answers, cancels, uploads
from cell import Cell, ending, holding, settle, word
from defects import defects
from endings import ENDINGS, reconnects, resumes
from kinds import HERE, KINDS, TRANSPORTS, WS, command, is_required
from lines import Driver, Failed, Mismatch, check

# ---- Scenarios ---------------------------------------------------------------------------------------------------

def connects(cell):
    a, b = cell.pair()

    def known(value):
        "22 characters, or none known without negotiating"
        return value is None or len(value) == 22
    for client in (a, b):
        check("connection id", known, client.id)
    if a.id:
        a.never("UserConnected", a.id)
    if a.id and b.id:
        check("ids differ", True, a.id != b.id)


def echoes(cell):
    a = cell.connect()
    values = [None, True, 0, -1, 2**31, 2**53 - 1, -(2**53 - 1), 1.5, "", "hé☃😀", "<&>'\"\\/\u2028", [], [1, [2, [None]]], {},
              {"name": "Ü", "list": [{"a": 1}, None], "inner": {"b": {"c": "d"}}}, "x" * 20000]
    if cell.protocol == "messagepack":
        values += [{"$bytes": ""}, {"$bytes": "AAEC/w=="}]
        if cell.kind.exact:  # else numbers are doubles
            values += [2**63 - 1, -(2**63)]
    elif cell.kind.exact:
        values += [2**63 - 1, -(2**63)]
    for value in values:
        check(f"Echo({str(value)[:40]})", value, a.invoke("Echo", value))
    check("name in capitals", "x", a.invoke("ECHO", "x"))


def broadcasts(cell):
    a, b = cell.pair()
    for sender, text in ((a, word()), (b, word() + " ☃ 😀")):
        check("result of a void method", None, sender.call("SendMessage", "me", text))
        a.expect("ReceiveMessage", "me", text)
        b.expect("ReceiveMessage", "me", text)
    text = word()
    a.send("SendMessage", "sent", text)  # no answer is asked for
    b.expect("ReceiveMessage", "sent", text)
    tag = word()
    for number in range(50):
        a.send("SendMessage", tag, str(number))
    b.expect("ReceiveMessage", tag, "49")
    check("order of a burst", [str(n) for n in range(50)], [e["args"][1] for e in b.heard("ReceiveMessage") if e["args"][0] == tag])


def broadcast_values(cell):
    a, b = cell.pair()
    for value in (None, 7, 1.5, True, [1, "two", None], {"k": {"n": [1]}}):
        tag = word()
        a.call("SendToRoom", "nowhere", "x")  # a room nobody is in is no error
        try:
            a.call("SendMessage", tag, value)
        except Failed:
            if isinstance(value, str):
                raise
            continue  # a server with typed parameters may refuse what is no string
        b.expect("ReceiveMessage", tag, value)


def groups(cell):
    a, b = cell.pair()
    room, text = f"{word()} é*", word()
    a.call("JoinRoom", room)
    if a.id:
        a.expect("Notice", f"{a.id} joined {room}")
    b.call("JoinRoom", room)
    if b.id:
        a.expect("Notice", f"{b.id} joined {room}")
        b.expect("Notice", f"{b.id} joined {room}")
    b.call("SendToRoom", room, text)
    a.expect("ReceiveMessage", room, text)
    back = word()
    a.call("SendToRoom", room, back)
    b.expect("ReceiveMessage", room, back)
    a.call("LeaveRoom", room)
    late = word()
    b.call("SendToRoom", room, late)
    settle(b, a)
    a.never("ReceiveMessage", room, late)  # has left
    b.never("ReceiveMessage", room, text)  # sent it, and is excepted
    if b.id:
        check("notices of a room of its own", 1, len(b.heard("Notice", f"{b.id} joined {room}")))


def others(cell):
    a, b = cell.pair()
    if b.id:
        b.never("UserConnected", b.id)
        b.stop()
        a.expect("UserDisconnected", b.id)


def errors(cell):
    a = cell.connect()
    table = [
        (("Nope",), "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist."),
        (("SendMessage", "one"), "Failed to invoke 'SendMessage' due to an error on the server."),
        (("Echo", 1, 2), "Failed to invoke 'Echo' due to an error on the server."),
    ]
    if cell.whole:
        table += [
            (("ThrowHub", "told"), "An unexpected error occurred invoking 'ThrowHub' on the server. HubException: told"),
            (("Throw", "secret"), "An unexpected error occurred invoking 'Throw' on the server."),
            (("Counter", 1, 1), "The client attempted to invoke the streaming 'Counter' method with a non-streaming invocation."),
        ]
    else:
        table += [(("JoinRoom", None), "An unexpected error occurred invoking 'JoinRoom' on the server.")]
    for call, text in table:
        check(f"error of {call}", ending(text), a.error_of(*call))
    check("the connection lives on", "still", a.invoke("Echo", "still"))


def restarts(cell):
    a, b = cell.pair()
    old = a.id
    a.stop()
    a.start()
    cell.known(a)
    if old:
        check("a new id", True, a.id not in (None, old))
    check("Echo after stop and start", "again", a.invoke("Echo", "again"))
    text = word()
    b.call("SendMessage", "b", text)
    a.expect("ReceiveMessage", "b", text)


def too_large(cell):
    a, b = cell.pair()
    try:
        a.send("Echo", "x" * 40000)
    except Failed:
        pass  # the connection may be gone before the send is told done
    closed = a.expect_event("closed")
    if "mute" not in cell.kind.can:
        check("closed with", holding("Connection closed with an error."), str(closed.get("error")))
    if a.id:
        b.expect("UserDisconnected", a.id)
    check("others live on", 1, b.invoke("Echo", 1))


def keeps_alive(cell):
    a = cell.connect(serverTimeout=4000)  # the server pings every second or two; a client that hears nothing for 4 s ends
    time.sleep(6)
    check("Echo after six silent seconds", "here", a.invoke("Echo", "here"))
    check("endings", [], [e for e in a.events if e["event"] == "closed"])


def without_negotiate(cell):
    cell.skips = True
    for scenario in (echoes, broadcasts, groups, restarts):
        scenario(cell)


EVERYWHERE = (connects, echoes, broadcasts, broadcast_values, groups, others, errors, restarts, too_large)


NEEDS = {cancels: {"cancel"}, uploads: {"upload", "tell"}, answers: {"answer"}, reconnects: {"reconnect"}, resumes: {"stateful"}}
NODES = (broadcasts, groups, others, answers)  # what two nodes do together


def plan(kind, whole, twice=False):
    """What applies to a client: (transport, protocol, scenario). `twice`: only what matters on two nodes."""
    for transport, protocols in KINDS[kind].ways.items():
        for protocol in protocols:
            can = KINDS[kind].can | {"whole"} if whole else KINDS[kind].can
            for scenario in EVERYWHERE:
                if not twice or scenario in NODES:
                    yield transport, protocol, scenario
            if whole:
                for scenario in CALLS + ENDINGS:
                    if can & NEEDS.get(scenario, can) and (not twice or scenario in NODES) and (scenario is not resumes or transport == WS):
                        yield transport, protocol, scenario
            if transport == WS and "skip" in can and not twice:
                yield transport, protocol, without_negotiate
                yield transport, protocol, keeps_alive


def play(cell, scenario):
    """None, or what was seen instead."""
    try:
        scenario(cell)
    except (Mismatch, Failed) as failure:
        return f"{type(failure).__name__.lower()}: {failure}"
    except Exception:
        return traceback.format_exc()
    finally:
        cell.close()
    return None


def run(kind, start, report, *, bases, whole=False, side=None, twice=False, wanted=lambda *_: True):
    """Plays a client's cells, one after another; `report`(transport, protocol, scenario's name, failure, defect) is told of each."""
    driver = Driver(start)
    try:
        driver.warm()
        for transport, protocol, scenario in plan(kind, whole, twice):
            name = scenario.__name__
            if not wanted(transport, protocol, name):
                continue
            known = defects(kind, transport, protocol, name)
            if harmful := next((each for each in known if each.text is None), None):
                report(transport, protocol, name, "not tried", harmful)
                continue
            if driver.ended():
                driver = Driver(start)
            failure = play(Cell(driver, kind, transport, protocol, bases, whole, side), scenario)
            report(transport, protocol, name, failure, next((each for each in known if failure and each.explains(failure)), None))
    finally:
        driver.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--base2")
    parser.add_argument("--whole", action="store_true", help="the servers offer the whole ChatHub")
    parser.add_argument("--side", help="a server with the hubs of examples/conformance")
    parser.add_argument("--client", action="append", required=True, choices=KINDS)
    parser.add_argument("--peers", default=os.environ.get("PEERS"), help="the unpacked folder with the .NET clients")
    parser.add_argument("--python", default=sys.executable, help="a Python that has the Python clients")
    parser.add_argument("--java", default=HERE.parent.parent / "target" / "java", help="the folder with the Java client")
    parser.add_argument("--transport", action="append", choices=TRANSPORTS, help="only these")
    parser.add_argument("--protocol", choices=("json", "messagepack"), help="only this")
    parser.add_argument("--only", help="part of a scenario's name")
    args = parser.parse_args()
    bases = [args.base, args.base2 or args.base]
    counts, lock = {"passed": 0, "failed": 0, "skipped": 0}, threading.Lock()

    def wanted(transport, protocol, name):
        return (not args.only or args.only in name) and (not args.transport or transport in args.transport) and args.protocol in (None, protocol)

    def reporter(kind):
        def report(transport, protocol, name, failure, known):
            with lock:
                counts["skipped" if known else "failed" if failure else "passed"] += 1
                if failure:
                    print(f"{f'client defect ({known.words})' if known else 'FAILED'} {kind} {transport} {protocol} {name}: {failure}", flush=True)
        return report

    threads = []
    for kind in args.client:
        start = command(kind, args.peers, args.python, args.java)
        if start is None:
            missing = "failed" if is_required(kind, args.peers) else "skipped"
            print(f"{missing} {kind}: its driver is not here")
            counts[missing] += 1
            continue
        options = {"bases": bases, "whole": args.whole, "side": args.side, "wanted": wanted}
        threads.append(threading.Thread(target=run, args=(kind, start, reporter(kind)), kwargs=options))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
