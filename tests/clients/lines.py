"""Real clients as processes that are driven with JSON lines: starts them, sends commands, waits for answers and events.

The commands and events are those of the .NET client's driver; the other drivers, in the folders beside this file, have the same ones.
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
TIMEOUT = float(os.environ.get("TIMEOUT", 15))  # seconds that anything may take
# The client methods that every connection handles, and how many arguments each has.
COUNTS = {"UserConnected": 1, "UserDisconnected": 1, "ReceiveMessage": 2, "Notice": 1, "Received": 2, "Empty": 0, "Many": 3,
          "StreamCanceled": 0, "UploadComplete": 1}


ENDED = "the driver's process has ended"


class Failed(Exception):
    """A command that failed: the error text that the client's user sees."""


class Mismatch(AssertionError):
    """Something else than expected was seen."""


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
                continue  # a client library's own output
            if "event" in line:
                if connection := self.connections.get(line.get("on")):
                    connection.hear(line)
            elif (answer := self.answers.get(line["id"])) is not None:
                answer.put(line)
        for answer in list(self.answers.values()):
            answer.put({"error": ENDED})

    def begin(self, op, on, **fields):
        """Sends a command; the returned call waits for its answer."""
        call = Call(self, op, fields.get("method", ""), f"c{next(self.ids)}")
        self.answers[call.number] = call.lines
        with self.lock:
            self.process.stdin.write(json.dumps({"id": call.number, "op": op, "on": on, **fields}) + "\n")
            self.process.stdin.flush()
        return call

    def ask(self, op, on, timeout=None, **fields):
        return self.begin(op, on, **fields).result(timeout)

    def warm(self):
        """Waits until the driver answers: a browser or a Java virtual machine takes a while to start."""
        try:
            self.ask("nothing", "nobody", 60)
        except Failed as failure:
            if str(failure) != ENDED:
                return  # every driver refuses an unknown operation on an unknown connection
            raise
        raise Mismatch("the driver accepted an unknown operation")

    def connect(self, url, *, handlers=(), on=None, **options):
        """Opens a connection. `handlers` replace those of the same methods that every connection has."""
        connection = Connection(self, on or f"k{next(self.ids)}")
        self.connections[connection.name] = connection
        named = {handler["method"] for handler in handlers}
        heard = [{"method": method, "count": count} for method, count in COUNTS.items() if method not in named]
        connection.id = self.ask("connect", connection.name, 2 * TIMEOUT, url=url, handlers=[*heard, *handlers], **options)
        return connection

    def ended(self):
        return self.process.poll() is not None

    def end(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass  # the process has ended already
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Call:
    """A command that was sent, and the items received for it."""

    def __init__(self, driver, op, method, number):
        self.driver, self.op, self.method, self.number, self.lines, self.items = driver, op, method, number, queue.Queue(), []

    def result(self, timeout=None):
        limit = time.monotonic() + (timeout or TIMEOUT)
        try:
            while True:
                try:
                    line = self.lines.get(timeout=max(0, limit - time.monotonic()))
                except queue.Empty:
                    raise Mismatch(f"{self.op} {self.method}: no answer within {timeout or TIMEOUT:g} s; items so far {self.items[:5]}") from None
                if "item" in line:
                    self.items.append(line["item"])
                elif "error" in line:
                    raise Failed(line["error"])
                else:
                    return line.get("result")
        finally:
            if self.lines.empty():
                self.driver.answers.pop(self.number, None)


class Connection:
    """A connection of a driver, and the events received from it."""

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

    def stream(self, method, *args, take=None):
        """The items of a stream, up to its end or the first `take`. If the stream fails, the raised `Failed` has them as `items`."""
        call = self.begin_stream(method, *args, take=take)
        try:
            call.result()
        except Failed as failure:
            failure.items = call.items
            raise
        return call.items

    def begin_stream(self, method, *args, take=None):
        return self.driver.begin("stream", self.name, method=method, args=list(args), **({"take": take} if take else {}))

    def cancel(self, call):
        self.driver.ask("cancel", self.name, stream=call.number)

    def upload(self, method, *uploads, **options):
        return self.driver.ask("upload", self.name, method=method, uploads=list(uploads), **options)

    def stop(self):
        self.driver.ask("stop", self.name)

    def start(self):
        self.id = self.driver.ask("start", self.name)

    def error_of(self, method, *args):
        """The error text of a call that must fail."""
        try:
            result = self.invoke(method, *args)
        except Failed as failure:
            return str(failure)
        raise Mismatch(f"{method}{args}: expected an error, saw {result!r}")

    def heard(self, method, *args):
        return [e for e in self.events if e["event"] == "message" and e["method"] == method and (not args or e["args"] == list(args))]

    def wait(self, what, found, timeout=TIMEOUT):
        """Waits until `found`(event) is true for an event, and returns that event."""
        limit, seen = time.monotonic() + timeout, 0
        with self.news:
            while True:
                for event in self.events[seen:]:
                    if found(event):
                        return event
                seen = len(self.events)
                if not self.news.wait(max(0, limit - time.monotonic())) and len(self.events) == seen:
                    last = [(e.get("method", e["event"]), e.get("args", e.get("error"))) for e in self.events[-4:]]
                    raise Mismatch(f"{what}: not seen within {timeout:g} s; the last seen were {last}")

    def expect(self, method, *args, timeout=TIMEOUT):
        """Waits until the server has called `method` with exactly these arguments."""
        want = list(args)
        self.wait(f"{method}{want}", lambda e: e["event"] == "message" and e["method"] == method and e["args"] == want, timeout)

    def expect_event(self, kind, timeout=TIMEOUT):
        return self.wait(kind, lambda e: e["event"] == kind, timeout)

    def never(self, method, *args):
        """Fails if the server has called `method` with these arguments. Call this after something was seen that had to arrive later."""
        check(f"calls of {method}{list(args)}", [], self.heard(method, *args))
