#!/usr/bin/env python3
"""The matrix: every client with each of its transports and protocols, in every scenario, on one node and on two nodes with Redis.

    tests/run.sh matrix                  the core, which is one of the suites
    python3 tests/matrix.py              everything, about five minutes on four cores; writes the table of docs/users/compatibility.md if all clients are installed
    python3 tests/matrix.py --client js10 --client java --no-table
    python3 tests/matrix.py --server aspnet --no-table        against the real ASP.NET Core server, if it is installed

Run tests/run.sh first: it installs the clients and builds the servers. The servers are examples/farm.rs (ASP.NET Core's test hub; one alone,
and two on one Redis) and examples/conformance (token, upload and cancellation). A failure that is a known defect of the client
(tests/clients/defects.py) counts as skipped. Prints one line per cell that did not pass, then `N passed, N failed, N skipped`. The exit code
is 1 if a cell failed.
"""
import argparse
import pathlib
import queue
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))
from processes import PYTHON, ROOT, TARGET, Aspnet, Conformance, Farmer, Redis, guard, peers  # noqa: E402
from defects import DEFECTS  # noqa: E402
from kinds import KINDS, command, is_required  # noqa: E402
from scenarios import plan, run  # noqa: E402

PAGE = ROOT / "docs" / "users" / "compatibility.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
JAVA = TARGET / "java"
# The columns of the table: a heading, and the scenarios that it sums up.
COLUMNS = (
    ("connect", ("connects",)), ("invoke", ("echoes",)), ("send", ("broadcasts", "broadcast_values", "others")), ("groups", ("groups",)),
    ("stream", ("streams",)), ("cancel", ("cancels",)), ("upload", ("uploads",)), ("client result", ("answers",)), ("errors", ("errors", "too_large", "aborts")),
    ("stop, start", ("restarts",)), ("reconnect", ("reconnects",)), ("stateful", ("resumes",)), ("auth", ("authorises",)),
    ("no negotiate", ("without_negotiate",)), ("keep-alive", ("keeps_alive",)),
    ("2: send", ("two broadcasts", "two others")), ("2: groups", ("two groups",)), ("2: client result", ("two answers",)),
)
MEANING = """\
`pass`, `FAIL`, `-` (the client does not have this feature), `defect N` (fails because of a defect of the client, listed below). Each cell sums up several checks:

- connect, invoke (null, numbers, Unicode, nested values, 20,000 characters, binary in MessagePack), send (to all, to others, bursts in order), groups;
- stream (items, errors), cancel (the hub's stream ends), upload (400 items over WebSockets, 40 otherwise; an error), client result (value, error, no such client);
- errors (unknown method, wrong arguments, hub errors, a message that is too large, a call that aborts its connection), stop and start again;
- reconnect (the sockets are cut, the client reconnects by itself), stateful (cut three times under load: no message lost, doubled or out of order);
- auth (a valid token, none, an invalid one), connecting without negotiate, staying connected through keep-alives;
- `2:` the same on two nodes with Redis: the sender, or the caller, is on the other node and uses the other protocol if the client has two."""


class Results:
    """The result of each cell."""

    def __init__(self):
        self.cells, self.lock = {}, threading.Lock()

    def reporter(self, kind, twice):
        def report(transport, protocol, name, failure, known):
            with self.lock:
                self.cells[kind, transport, protocol, f"two {name}" if twice else name] = (failure, known)
                if failure:
                    nodes = "two nodes" if twice else "one node"
                    print(f"{f'client defect ({known.words})' if known else 'FAILED'} {kind} {transport} {protocol} {name}, {nodes}: {failure[:600]}", flush=True)
        return report

    def counts(self):
        defects = sum(known is not None for _, known in self.cells.values())
        failed = sum(failure is not None for failure, _ in self.cells.values()) - defects
        return len(self.cells) - failed - defects, failed, defects

    def cell(self, kind, transport, protocol, names):
        seen = [self.cells[key] for name in names if (key := (kind, transport, protocol, name)) in self.cells]
        if any(failure and not known for failure, known in seen):
            return "FAIL"
        marks = sorted({DEFECTS.index(known) + 1 for _, known in seen if known})
        return f"defect {', '.join(map(str, marks))}" if marks else "pass" if seen else "-"

    def table(self):
        lines = ["| client | transport | protocol | " + " | ".join(heading for heading, _ in COLUMNS) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
        for kind, transport, protocol in dict.fromkeys((kind, transport, protocol) for kind in KINDS for transport, protocol in ways(kind)):
            if any(key[:3] == (kind, transport, protocol) for key in self.cells):
                row = [self.cell(kind, transport, protocol, names) for _, names in COLUMNS]
                lines.append(f"| {KINDS[kind].label} | {transport} | {protocol} | {' | '.join(row)} |")
        used = {DEFECTS.index(known) for _, known in self.cells.values() if known}
        notes = [f"- client defect {index + 1}, {', '.join(KINDS[kind].label for kind in known.kinds)}: {known.words}." for index, known in enumerate(DEFECTS) if index in used]
        return "\n".join([*lines, "", *notes])


def ways(kind):
    return [(transport, protocol) for transport, protocols in KINDS[kind].ways.items() for protocol in protocols]


class Servers:
    """One node, two nodes on Redis, and a conformance server. Each worker has a set of its own, since all clients of a server are notified of each other."""

    def __init__(self, which, folder, redis, number):
        self.all, prefix = [], f"matrix{number}"
        if which == "aspnet":
            self.one = self.keep(Aspnet(folder, stateful=True))
            self.two = [self.keep(Aspnet(folder, name, redis, prefix, stateful=True)) for name in ("a", "b")]
            self.side = self.one
        else:
            self.one, self.two = self.keep(Farmer()), [self.keep(Farmer(redis, prefix, name=name)) for name in ("a", "b")]
            self.side = self.keep(Conformance("--keep-alive", 1))

    def keep(self, server):
        self.all.append(server)
        return server


def play(kinds, folder, which="hubplane", wanted=lambda *_: True, at_once=3):
    """Plays the cells of these clients. Returns the results, and the clients that are not installed."""
    results, missing, work, opened = Results(), [], queue.Queue(), [Redis()]
    for kind in kinds:
        start = command(kind, folder, PYTHON, JAVA)
        if start is None:
            missing.append(kind)
            continue
        for twice in (False, True):
            work.put((kind, start, twice))

    def worker(servers):
        while True:
            try:
                kind, start, twice = work.get_nowait()
            except queue.Empty:
                return
            begun, report = time.monotonic(), results.reporter(kind, twice)
            bases = [server.base for server in servers.two] if twice else [servers.one.base] * 2

            def chosen(*cell, kind=kind, twice=twice):
                return wanted(kind, *cell, twice)
            try:
                run(kind, start, report, bases=bases, whole=True, side=servers.side.base, twice=twice, wanted=chosen)
            except Exception as error:  # the driver does not even start
                for transport, protocol, scenario in plan(kind, True, twice):
                    if chosen(transport, protocol, scenario.__name__):
                        report(transport, protocol, scenario.__name__, f"its driver ended: {error!r}", None)
            print(f"{kind}, {'two nodes' if twice else 'one node'}: {time.monotonic() - begun:.0f} s", flush=True)

    try:
        threads = []
        for number in range(min(at_once, len(kinds))):
            servers = Servers(which, folder, opened[0], number)
            opened += servers.all
            threads.append(threading.Thread(target=worker, args=(servers,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for server in opened:
            if server.process.poll() is not None:
                results.cells[server.name, "", "", "the server keeps running"] = (f"ended with {server.process.returncode}", None)
                print(f"FAILED the server {server.name} has ended with {server.process.returncode}\n{server.tail()}")
        return results, missing
    finally:
        for server in opened:
            try:
                server.close()
            except RuntimeError:
                pass  # it has crashed, which is in the results


# The core, which tests/run.sh plays: one transport and protocol of each client, chosen to add to what the other suites play.
CORE = {
    "js10": ("WebSockets", "messagepack"), "js6": ("ServerSentEvents", "json"), "js31": ("LongPolling", "messagepack"), "aspnet11": ("WebSockets", "json"),
    "chromium": ("WebSockets", "json"), "pysignalr": ("WebSockets", "messagepack"), "signalrcore": ("WebSockets", "json"), "aiosignalr": ("LongPolling", "json"),
    "dotnet10": ("WebSockets", "messagepack"), "java": ("WebSockets", "json"),
}
SLOW = ("keeps_alive", "without_negotiate", "broadcast_values")


def core(kind, transport, protocol, name, _twice):
    return CORE[kind] == (transport, protocol) and name not in SLOW


def write(table):
    """Puts the table into docs/users/compatibility.md, between its markers."""
    text = PAGE.read_text() if PAGE.exists() else "# Compatibility\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n## Clients\n\nWritten by `python3 tests/matrix.py`.\n\n{BEGIN}\n{END}\n"
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{MEANING}\n\n{table}\n{END}", text, flags=re.S))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--client", action="append", choices=KINDS, help="only these clients")
    parser.add_argument("--only", help="part of a scenario's name")
    parser.add_argument("--core", action="store_true", help="only the core")
    parser.add_argument("--server", choices=("hubplane", "aspnet"), default="hubplane")
    parser.add_argument("--at-once", type=int, default=3, help="clients that are played at the same time")
    parser.add_argument("--no-table", action="store_true", help="do not write docs/users/compatibility.md")
    args = parser.parse_args()
    guard()
    folder = peers()
    kinds = args.client or list(CORE if args.core else KINDS)

    def wanted(kind, transport, protocol, name, twice):
        return (not args.only or args.only in name) and (not args.core or core(kind, transport, protocol, name, twice))

    results, missing = play(kinds, folder, args.server, wanted, args.at_once)
    required = [kind for kind in missing if is_required(kind, folder)]
    for kind in missing:
        print(f"{'FAILED' if kind in required else 'skipped'} {kind}: it is not installed")
    table = results.table()
    print(f"\n{table}\n")
    if args.no_table or args.only or args.core or args.client or missing or args.server != "hubplane":
        print(f"{PAGE.name} is left as it is")
    else:
        write(table)
    passed, failed, defects = results.counts()
    failed += len(required)
    print(f"{passed} passed, {failed} failed, {defects + len(missing) - len(required)} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
