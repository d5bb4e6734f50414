#!/usr/bin/env python3
"""The chat, as real clients see it: every scenario over every client, transport and protocol.

    python3 scenarios.py --base http://127.0.0.1:8080 [--base2 http://127.0.0.1:8081] --client js10 --client pysignalr

The client under test is `a`, on --base; `b` is another connection of the same client, on --base2 and of the other protocol.
The servers are expected to offer the chat of the built-in configuration at /chat, with a keep-alive of one second and detailed errors off.
One line a failed cell, with what was expected and seen; then one line of counts. Exit code 0 when nothing failed.
"""
import argparse
import os
import queue
import random
import sys
import threading
import time
import traceback

from lines import Driver, Failed, Mismatch, check, commands

TRANSPORTS = ("WebSockets", "ServerSentEvents", "LongPolling")
OTHER = {"json": "messagepack", "messagepack": "json"}
QUIET = 0.3  # what was never to come has this long to come, after something later was seen


class Cell:
    """One client, transport and protocol, and the servers it runs against."""

    def __init__(self, driver, kind, transport, protocol, bases):
        self.driver, self.kind, self.transport, self.protocol, self.bases = driver, kind, transport, protocol, bases
        self.skips, self.opened = False, []

    def connect(self, base=0, transport=None, protocol=None, **options):
        transport = transport or self.transport
        if self.skips and transport == "WebSockets":
            options.setdefault("skipNegotiation", True)
        connection = self.driver.connect(f"{self.bases[base]}/chat", transport=transport, protocol=protocol or self.protocol, **options)
        self.opened.append(connection)
        return connection

    def pair(self):
        """`a` under test, and `b` on the other node with the other protocol, which `a` has heard of."""
        a = self.connect()
        b = self.connect(base=-1, transport="WebSockets", protocol=OTHER[self.protocol])
        if b.id:
            a.expect("UserConnected", b.id)
        return a, b

    def close(self):
        for connection in self.opened:
            try:
                connection.stop()
            except (Failed, Mismatch):
                pass  # it had ended already


def word():
    return f"w{random.getrandbits(48):x}"


def settle(*clients):
    """Whatever was sent before has come by now: a later broadcast has."""
    mark = word()
    clients[0].call("SendMessage", "mark", mark)
    for client in clients:
        client.expect("ReceiveMessage", "mark", mark)
    time.sleep(QUIET)


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
        if not cell.kind.startswith("js"):  # JavaScript has no 64-bit integers
            values += [2**63 - 1, -(2**63)]
    elif not cell.kind.startswith("js"):
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
        (("JoinRoom", None), "An unexpected error occurred invoking 'JoinRoom' on the server."),
    ]
    for call, text in table:
        def ends(seen, text=text):
            return seen.endswith(text)
        ends.__doc__ = repr(text)
        check(f"error of {call}", ends, a.error_of(*call))
    check("the connection lives on", "still", a.invoke("Echo", "still"))


def restarts(cell):
    a, b = cell.pair()
    old = a.id
    a.stop()
    a.start()
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
    error = str(a.expect_event("closed").get("error"))

    def closing(seen):
        "an error that says: Connection closed with an error."
        return "Connection closed with an error." in seen
    check("closed with", closing, error)
    if a.id:
        b.expect("UserDisconnected", a.id)
    check("others live on", 1, b.invoke("Echo", 1))


def keeps_alive(cell):
    a = cell.connect(serverTimeout=2500)  # the server pings every second; a client that hears nothing for 2.5 s ends
    time.sleep(4)
    check("Echo after four silent seconds", "here", a.invoke("Echo", "here"))
    check("endings", [], [e for e in a.events if e["event"] == "closed"])


def without_negotiate(cell):
    cell.skips = True
    for scenario in (echoes, broadcasts, groups, restarts):
        scenario(cell)


EVERYWHERE = (connects, echoes, broadcasts, broadcast_values, groups, others, errors, restarts, too_large)


def cells(kind):
    """What applies to a client: (transport, protocol, scenario)."""
    for transport in TRANSPORTS if kind != "pysignalr" else TRANSPORTS[:1]:
        for protocol in ("json", "messagepack"):
            if (transport, protocol) == ("ServerSentEvents", "messagepack"):
                continue  # no client does this
            for scenario in EVERYWHERE:
                yield transport, protocol, scenario
            if transport == "WebSockets" and kind != "pysignalr":
                yield transport, protocol, without_negotiate
                yield transport, protocol, keeps_alive


# ---- Running -----------------------------------------------------------------------------------------------------

def run(kind, command, bases, args, report):
    driver = Driver(command)
    try:
        for transport, protocol, scenario in cells(kind):
            if args.only and args.only not in scenario.__name__ or args.transport and transport not in args.transport:
                continue
            cell, name = Cell(driver, kind, transport, protocol, bases), f"{kind} {transport} {protocol} {scenario.__name__}"
            try:
                scenario(cell)
                report(name, None)
            except (Mismatch, Failed) as failure:
                report(name, f"{type(failure).__name__.lower()}: {failure}")
            except Exception:
                report(name, traceback.format_exc())
            finally:
                cell.close()
    finally:
        driver.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--base2")
    parser.add_argument("--client", action="append", required=True)
    parser.add_argument("--peers", default=os.environ.get("PEERS"), help="the unpacked folder with the .NET clients")
    parser.add_argument("--python", default=sys.executable, help="a Python that has pysignalr")
    parser.add_argument("--transport", action="append", choices=TRANSPORTS, help="only these")
    parser.add_argument("--only", help="part of a scenario's name")
    args = parser.parse_args()
    bases = [args.base, args.base2 or args.base]
    counts, lock = {"passed": 0, "failed": 0, "skipped": 0}, threading.Lock()

    def report(name, failure):
        with lock:
            counts["failed" if failure else "passed"] += 1
            if failure:
                print(f"FAILED {name}: {failure}", flush=True)

    threads = queue.Queue()
    for kind, command in commands(args.client, args.peers, args.python).items():
        if command is None:
            print(f"skipped {kind}: its driver is not here")
            counts["skipped"] += 1
            continue
        thread = threading.Thread(target=run, args=(kind, command, bases, args, report))
        thread.start()
        threads.put(thread)
    while not threads.empty():
        threads.get().join()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
