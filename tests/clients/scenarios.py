#!/usr/bin/env python3
"""Every scenario over every client, transport and protocol.

    python3 scenarios.py --base http://127.0.0.1:8080 [--base2 http://127.0.0.1:8081] --client js10 --client pysignalr
    python3 scenarios.py --whole --base http://127.0.0.1:5000 --side http://127.0.0.1:5001 --client js10

The connection under test is `a`, on --base; `b` is another connection of the same client, on --base2 and with the other protocol.
The servers must offer the chat of the built-in configuration at /chat, with a keep-alive interval of one second and detailed errors off.
With --whole they offer the whole ChatHub (examples/farm.rs, ASP.NET Core's test server), and the scenarios of calls.py and endings.py are
played too; --side then names a server with the hubs of examples/conformance. Prints one line per failed cell, with what was expected and
seen, and then one line of counts. A failure that is a known defect of the client (defects.py) counts as skipped. The exit code is 0 if
nothing failed.
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

    if "nameless" in cell.kind.can and not cell.whole:
        check("connection ids", [None, None], [a.id, b.id])
        return
    for client in (a, b):
        check("length of the connection id", 22, len(client.id))
    a.never("UserConnected", a.id)
    check("ids differ", True, a.id != b.id)


def echoes(cell):
    a = cell.connect()
    values = [None, True, 0, -1, 2**31, 2**53 - 1, -(2**53 - 1), 1.5, "", "hé☃😀", "<&>'\"\\/\u2028", [], [1, [2, [None]]], {},
              {"name": "Ü", "list": [{"a": 1}, None], "inner": {"b": {"c": "d"}}}, "x" * 20000]
    if cell.protocol == "messagepack":
        values += [{"$bytes": ""}, {"$bytes": "AAEC/w=="}]
        if cell.kind.exact:  # the other clients read numbers as doubles
            values += [2**63 - 1, -(2**63)]
    elif cell.kind.exact:
        values += [2**63 - 1, -(2**63)]
    for value in values:
        check(f"Echo({str(value)[:40]})", value, a.invoke("Echo", value))
    check("a method's name in capitals", "x", a.invoke("ECHO", "x"))


def broadcasts(cell):
    a, b = cell.pair()
    for sender, text in ((a, word()), (b, word() + " ☃ 😀")):
        check("result of a void method", None, sender.call("SendMessage", "me", text))
        a.expect("ReceiveMessage", "me", text)
        b.expect("ReceiveMessage", "me", text)
    text = word()
    a.send("SendMessage", "sent", text)  # without a completion
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
        a.call("SendToRoom", "nowhere", "x")  # sending to a room without members is not an error
        if cell.typed and value is not None:
            check(f"error of {value!r} for a string", ending("Failed to invoke 'SendMessage' due to an error on the server."), a.error_of("SendMessage", tag, value))
            continue
        a.call("SendMessage", tag, value)
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
    a.never("ReceiveMessage", room, late)  # it has left the room
    b.never("ReceiveMessage", room, text)  # senders do not receive their own messages
    if b.id:
        check("notices that it has joined the room", 1, len(b.heard("Notice", f"{b.id} joined {room}")))


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
    check("the connection still works", "still", a.invoke("Echo", "still"))


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
        pass  # the server may close the connection before the client has written everything; "closed" is what is tested
    closed = a.expect_event("closed")
    if "mute" not in cell.kind.can:
        check("closed with", holding("Connection closed with an error."), str(closed.get("error")))
    if a.id:
        b.expect("UserDisconnected", a.id)
    check("the other connection still works", 1, b.invoke("Echo", 1))


def keeps_alive(cell):
    a = cell.connect(serverTimeout=4000)  # a client that receives nothing for 4 s ends the connection; the server pings every second
    time.sleep(6)  # the time-out passes: this time is what is tested
    check("Echo after six idle seconds", "here", a.invoke("Echo", "here"))
    check("endings", [], [e for e in a.events if e["event"] == "closed"])


def without_negotiate(cell):
    cell.skips = True
    for scenario in (echoes, broadcasts, groups, restarts):
        scenario(cell)


EVERYWHERE = (connects, echoes, broadcasts, broadcast_values, groups, others, errors, restarts, too_large)
NEEDS = {cancels: {"cancel"}, uploads: {"upload", "tell"}, answers: {"answer"}, reconnects: {"reconnect"}, resumes: {"stateful"}}
NODES = (broadcasts, groups, others, answers)  # those in which two nodes work together


def plan(kind, whole, twice=False):
    """The cells of a client: (transport, protocol, scenario). `twice`: only those of NODES."""
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
    """Plays one cell. Returns None, or a description of the failure."""
    try:
        scenario(cell)
    except (Mismatch, Failed) as failure:
        return f"{type(failure).__name__.lower()}: {failure}"
    except Exception:
        return traceback.format_exc()
    finally:
        cell.close()
    return None


def run(kind, start, report, *, bases, whole=False, side=None, typed=False, twice=False, wanted=lambda *_: True):
    """Plays a client's cells, one after another, and calls `report`(transport, protocol, scenario's name, failure, defect) for each."""
    driver = Driver(start)
    try:
        driver.warm()
        for transport, protocol, scenario in plan(kind, whole, twice):
            name = scenario.__name__
            if not wanted(transport, protocol, name):
                continue
            known = defects(kind, transport, protocol, name)
            if harmful := next((each for each in known if each.text is None), None):
                report(transport, protocol, name, "not played", harmful)
                continue
            if driver.ended():
                driver = Driver(start)
            failure = play(Cell(driver, kind, transport, protocol, bases, whole, side, typed), scenario)
            report(transport, protocol, name, failure, next((each for each in known if failure and each.explains(failure)), None))
    finally:
        driver.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--base2")
    parser.add_argument("--whole", action="store_true", help="the servers offer the whole ChatHub")
    parser.add_argument("--typed", action="store_true", help="the first server's methods have typed parameters (always so with --whole)")
    parser.add_argument("--side", help="a server with the hubs of examples/conformance")
    parser.add_argument("--client", action="append", required=True, choices=KINDS)
    parser.add_argument("--peers", default=os.environ.get("PEERS"), help="the unpacked folder with the .NET clients")
    parser.add_argument("--python", default=sys.executable, help="a Python interpreter that has the Python clients")
    parser.add_argument("--java", default=HERE.parent.parent / "target" / "java", help="the folder with the Java client")
    parser.add_argument("--transport", action="append", choices=TRANSPORTS, help="only these transports")
    parser.add_argument("--protocol", choices=("json", "messagepack"), help="only this protocol")
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
            print(f"{missing} {kind}: it is not installed")
            counts[missing] += 1
            continue
        options = {"bases": bases, "whole": args.whole, "side": args.side, "typed": args.typed, "wanted": wanted}
        threads.append(threading.Thread(target=run, args=(kind, start, reporter(kind)), kwargs=options))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
