"""Real clients as processes that speak JSON lines: starting them, commanding them, waiting for what they hear.

The commands and events are those of the .NET client's driver; the JavaScript and the Python driver beside this file speak the same.
"""
import itertools
import json
import os
import pathlib
import queue
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = float(os.environ.get("PATIENCE", 10))  # seconds that anything may take
HEARD = ("UserConnected", "UserDisconnected", "ReceiveMessage", "Notice", "Received", "Empty", "Many")
COUNTS = {"UserConnected": 1, "UserDisconnected": 1, "ReceiveMessage": 2, "Notice": 1, "Received": 2, "Empty": 0, "Many": 3}


class Failed(Exception):
    """A command answered with an error: the text its user sees."""


class Mismatch(AssertionError):
    """Something else was seen than expected."""


def check(what, expected, seen):
    if not expected(seen) if callable(expected) else expected != seen:
        wanted = expected.__doc__ if callable(expected) else repr(expected)
        raise Mismatch(f"{what}: expected {short(wanted)}, saw {short(repr(seen))}")


def short(text, most=300):
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


class Driver:
    """One process with any number of connections."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, bufsize=1, env={**os.environ, **(env or {})})
        self.ids, self.answers, self.connections = itertools.count(1), {}, {}
        self.lock = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for text in self.process.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if "event" in line:
                if connection := self.connections.get(line.get("on")):
                    connection.hear(line)
            elif (answer := self.answers.get(line["id"])) is not None:
                answer.put(line)
        for answer in list(self.answers.values()):
            answer.put({"error": "the driver's process has ended"})

    def ask(self, op, on, patience=PATIENCE, **fields):
        number, answer = f"c{next(self.ids)}", queue.Queue()
        self.answers[number] = answer
        with self.lock:
            self.process.stdin.write(json.dumps({"id": number, "op": op, "on": on, **fields}) + "\n")
            self.process.stdin.flush()
        try:
            line = answer.get(timeout=patience)
        except queue.Empty:
            raise Mismatch(f"{op} {fields.get('method', '')}: no answer within {patience:g} s") from None
        finally:
            del self.answers[number]
        if "error" in line:
            raise Failed(line["error"])
        return line.get("result")

    def connect(self, url, **options):
        """Connects; the events of design.md's chat and of the farm are listened to from the start."""
        connection = Connection(self, f"k{next(self.ids)}")
        self.connections[connection.name] = connection
        handlers = [{"method": method, "count": COUNTS[method]} for method in HEARD]
        connection.id = self.ask("connect", connection.name, url=url, handlers=handlers, **options)
        return connection

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Connection:
    """A connection of a driver, and what it has heard."""

    def __init__(self, driver, name):
        self.driver, self.name, self.id = driver, name, None
        self.events, self.news = [], threading.Condition()

    def hear(self, line):
        with self.news:
            self.events.append(line)
            self.news.notify_all()

    def invoke(self, method, *args):
        return self.driver.ask("invoke", self.name, method=method, args=list(args))

    def call(self, method, *args):
        """Invokes a void method."""
        return self.driver.ask("invoke", self.name, method=method, args=list(args), void=True)

    def send(self, method, *args):
        self.driver.ask("send", self.name, method=method, args=list(args))

    def stop(self):
        self.driver.ask("stop", self.name)

    def start(self):
        self.id = self.driver.ask("start", self.name)

    def error_of(self, method, *args):
        """The text of the error that a call ends with."""
        try:
            result = self.invoke(method, *args)
        except Failed as failure:
            return str(failure)
        raise Mismatch(f"{method}{args}: expected an error, saw {result!r}")

    def heard(self, method, *args):
        return [e for e in self.events if e["event"] == "message" and e["method"] == method and (not args or e["args"] == list(args))]

    def wait(self, what, found, patience=PATIENCE):
        """Waits until `found`(event) holds for an event; gives the event."""
        limit, seen = time.monotonic() + patience, 0
        with self.news:
            while True:
                for event in self.events[seen:]:
                    if found(event):
                        return event
                seen = len(self.events)
                if not self.news.wait(max(0, limit - time.monotonic())) and len(self.events) == seen:
                    last = [(e.get("method", e["event"]), e.get("args", e.get("error"))) for e in self.events[-4:]]
                    raise Mismatch(f"{what}: not seen within {patience:g} s; the last seen were {last}")

    def expect(self, method, *args, patience=PATIENCE):
        """Waits until `method` was called here with exactly these arguments."""
        want = list(args)
        self.wait(f"{method}{want}", lambda e: e["event"] == "message" and e["method"] == method and e["args"] == want, patience)

    def expect_event(self, kind, patience=PATIENCE):
        return self.wait(kind, lambda e: e["event"] == kind, patience)

    def never(self, method, *args):
        """Has not been called so; ask after something that had to come later was seen."""
        check(f"{method}{list(args)} here", [], self.heard(method, *args))


def find(path):
    return str(HERE / path)


def commands(kinds, peers, python):
    """The command of each driver, by name; a peer that is missing gives None."""
    table = {
        "js10": ["node", find("js/client.js"), "10"],
        "js31": ["node", find("js/client.js"), "31"],
        "pysignalr": [python, find("python/client.py")],
    }
    for line in ("10", "8", "6"):
        script = peers and os.path.join(peers, f"dotnet-client-{line}.sh")
        table[f"dotnet{line}"] = [script] if script and os.path.exists(script) else None
    return {kind: table[kind] for kind in kinds}
