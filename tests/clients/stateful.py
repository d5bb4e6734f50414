"""Stateful reconnect with real clients: while both nodes of a farm are busy, the socket of one client is cut again and again, without a
close frame. Whatever was sent, called and streamed must come once, in order, and the client must not notice.

    python3 stateful.py --base http://127.0.0.1:5000 --base2 http://127.0.0.1:5001 --client js10 --client dotnet10 --peers FOLDER

The servers are examples/farm.rs with `--stateful true`, or the reference with the same methods.
"""
import argparse
import json
import queue
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse

from kinds import command
from lines import Driver, Failed, Mismatch, check

CUTS = 10
PATIENCE = 30


class Proxy:
    """A TCP proxy whose connections can be cut: reset, or ended in both directions, and never with a close frame."""

    def __init__(self, base):
        url = urllib.parse.urlsplit(base)
        self.target = (url.hostname, url.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.pairs, self.opened, self.lock = [], 0, threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, 5)
            except OSError:
                near.close()
                continue
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self.pump, args=(near, far), daemon=True).start()

    def pump(self, near, far):
        begun = False
        try:
            while True:
                for ready in select.select((near, far), (), ())[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if not begun and data.startswith(b"GET"):
                        self.opened += 1  # a WebSocket; negotiations stay open beside it for a while
                    begun = True
                    (far if ready is near else near).sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.pairs = [pair for pair in self.pairs if pair[0] is not near]
            near.close()
            far.close()

    def cut(self, reset):
        """Ends all that is open."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for one in pair:
                try:
                    if reset:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR) if not reset else one.close()
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut(True)


class Load(threading.Thread):
    """Does something with rising numbers until it is told to stop."""

    def __init__(self, work, pause=0.0):
        super().__init__(daemon=True)
        self.work, self.pause, self.done, self.failure, self.over = work, pause, 0, None, threading.Event()
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                self.work(self.done)
                self.done += 1
                time.sleep(self.pause)
        except Exception as failure:
            self.failure = failure

    def finish(self):
        self.over.set()
        self.join(PATIENCE)
        if self.failure or self.is_alive():
            raise Mismatch(f"after {self.done}: {self.failure or 'it hangs'}")
        return self.done


def stream(connection, items, *args):
    """The items of a streamed call, as they come."""
    driver, answer = connection.driver, queue.Queue()
    number = f"s{next(driver.ids)}"
    driver.answers[number] = answer
    with driver.lock:
        driver.process.stdin.write(json.dumps({"id": number, "op": "stream", "on": connection.name, "method": "Counter", "args": list(args)}) + "\n")
        driver.process.stdin.flush()
    while True:
        line = answer.get(timeout=PATIENCE)
        if "item" not in line:
            if "error" in line:
                raise Failed(line["error"])
            return
        items.append(line["item"])


def play(start, start_other, base, base2, protocol):
    proxy, driver, other_driver = Proxy(base), Driver(start), Driver(start_other)
    try:
        client = driver.connect(f"{proxy.base}/chat", transport="WebSockets", stateful=True, protocol=protocol)
        other = other_driver.connect(f"{base2}/chat", transport="WebSockets", skipNegotiation=True)
        other.send("SendMessage", "other", "first")
        client.expect("ReceiveMessage", "other", "first")
        opened, items = proxy.opened, []

        def echo(number):
            check("Echo", f"call {number}", client.invoke("Echo", f"call {number}"))

        streaming = threading.Thread(target=stream, args=(client, items, 1500, 4), daemon=True)
        streaming.start()
        loads = [
            Load(lambda n: other.send("SendMessage", "other", str(n)), 0.002),
            Load(lambda n: client.send("SendMessage", "client", str(n)), 0.002),
            Load(echo),
            Load(echo),
        ]
        for number in range(CUTS):
            time.sleep(0.6)
            before = proxy.opened
            proxy.cut(reset=number % 2 == 0)
            limit = time.monotonic() + PATIENCE
            while proxy.opened == before:
                if time.monotonic() > limit:
                    raise Mismatch(f"the client did not come again after cut {number + 1}: {client.events[-3:]}")
                time.sleep(0.005)
        time.sleep(0.3)
        theirs, ours, *calls = [load.finish() for load in loads]
        streaming.join(PATIENCE)
        client.send("SendMessage", "client", "last")
        other.send("SendMessage", "other", "last")
        for connection in (client, other):
            connection.expect("ReceiveMessage", "other", "last", patience=PATIENCE)
            connection.expect("ReceiveMessage", "client", "last", patience=PATIENCE)

        def said(connection, who):
            return [e["args"][1] for e in connection.heard("ReceiveMessage") if e["args"][0] == who]

        for connection in (client, other):
            check("what the other sent", ["first", *map(str, range(theirs)), "last"], said(connection, "other"))
            check("what the client sent", [*map(str, range(ours)), "last"], said(connection, "client"))
        check("the stream", list(range(1500)), items)
        check("sockets", CUTS, proxy.opened - opened)
        check("what the client noticed", [], [e for e in client.events if e["event"] != "message"])
        check("its id", client.id, driver.ask("state", client.name)["connectionId"])
        client.stop()
        return f"{theirs} + {ours} messages, {sum(calls)} calls, {len(items)} items over {CUTS + 1} sockets"
    finally:
        driver.end()
        other_driver.end()
        proxy.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--base", required=True, help="the node of the client that is cut")
    add("--base2", help="the node of the other; default the same")
    add("--client", action="append", required=True, help="js10, dotnet10, dotnet8")
    add("--protocol", action="append", help="json, messagepack; default both")
    add("--peers", help="folder with the .NET clients")
    options = parser.parse_args()
    passed = failed = 0
    other = command("js10", None, sys.executable, None)
    for kind in options.client:
        start = command(kind, options.peers, sys.executable, None)
        for protocol in options.protocol or ("json", "messagepack"):
            try:
                told = play(start, other, options.base, options.base2 or options.base, protocol)
                passed += 1
                print(f"{kind} {protocol}: {told}")
            except (Mismatch, Failed, queue.Empty) as failure:
                failed += 1
                print(f"FAILED {kind} {protocol}: {failure}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
