"""Stateful reconnect with real clients: while both nodes of a farm are busy, the socket of one client is cut again and again, without a
close frame. Every message, answer and stream item must arrive once and in order, and the client must not report anything.

    python3 stateful.py --base http://127.0.0.1:5000 --base2 http://127.0.0.1:5001 --client js10 --client dotnet10 --peers FOLDER

The servers are examples/farm.rs with `--stateful true`, or ASP.NET Core's test server.
"""
import argparse
import queue
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse

from cell import alone
from kinds import command
from lines import Driver, Failed, Mismatch, check

CUTS = 10
TIMEOUT = 30


class Proxy:
    """A TCP proxy whose connections can be cut: reset, or shut down in both directions, but never with a close frame."""

    def __init__(self, base):
        url = urllib.parse.urlsplit(base)
        self.target = (url.hostname, url.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.pairs, self.opened, self.resumed, self.lock = [], 0, 0, threading.Lock()
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
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self.pump, args=(near, far), daemon=True).start()

    def pump(self, near, far):
        websocket, answered, head = None, False, b""
        try:
            while True:
                for ready in select.select((near, far), (), ())[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if websocket is None and (websocket := data.startswith(b"GET")):
                        self.opened += 1  # connections of negotiate, which is a POST, are not counted
                    (far if ready is near else near).sendall(data)
                    if websocket and not answered and ready is far:
                        head += data
                        answered = bool(head.partition(b"\r\n\r\n")[2])  # a frame has followed the response to the upgrade
                    elif answered is True and ready is near:
                        answered = "both ways"
                        self.resumed += 1
        except (OSError, ValueError):
            pass  # it was cut
        finally:
            with self.lock:
                self.pairs = [pair for pair in self.pairs if pair[0] is not near]
            near.close()
            far.close()

    def cut(self, reset):
        """Ends every open connection."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for one in pair:
                try:
                    if reset:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR) if not reset else one.close()
                except OSError:
                    pass  # it has ended already

    def close(self):
        self.listener.close()
        self.cut(True)


class Load(threading.Thread):
    """A thread that calls `work` with increasing numbers until it is stopped."""

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

    def advance(self, count):
        """Waits until it has called `work` so many times more."""
        start, limit = self.done, time.monotonic() + TIMEOUT
        while self.done < start + count:
            if self.failure or time.monotonic() > limit:
                raise Mismatch(f"{self.work.__name__} after {self.done}: {self.failure or f'only {self.done - start} of {count} calls in {TIMEOUT} s'}")
            time.sleep(0.005)

    def finish(self):
        self.over.set()
        self.join(TIMEOUT)
        if self.failure or self.is_alive():
            raise Mismatch(f"after {self.done}: {self.failure or 'it hangs'}")
        return self.done


def play(start, start_other, base, base2, protocol):
    proxy, driver, other_driver = Proxy(base), Driver(start), Driver(start_other)
    try:
        alone(base, base2)  # else a late UserDisconnected may arrive while the JavaScript client connects, which miscounts it (endings.py)
        client = driver.connect(f"{proxy.base}/chat", transport="WebSockets", stateful=True, protocol=protocol)
        other = other_driver.connect(f"{base2}/chat", transport="WebSockets", skipNegotiation=True)
        other.send("SendMessage", "other", "first")
        client.expect("ReceiveMessage", "other", "first")
        opened = proxy.opened

        def echo(number):
            check("Echo", f"call {number}", client.invoke("Echo", f"call {number}"))

        def send_from_other(number):
            other.send("SendMessage", "other", str(number))

        def send_from_client(number):
            client.send("SendMessage", "client", str(number))

        # It outlasts the cuts: a .NET client that receives items again, of a stream that ended before the cut, takes them for invalid
        # messages and closes the connection, with every server.
        stream = client.begin_stream("Counter", 1_000_000, 4)
        loads = [
            Load(send_from_other, 0.002),
            Load(send_from_client, 0.002),
            Load(echo),
            Load(echo),
        ]
        for number in range(CUTS):
            for load in loads:
                load.advance(10)
            time.sleep(0.6)  # clients acknowledge once a second: so some cuts come before an acknowledgement, and others after it
            before = proxy.resumed
            proxy.cut(reset=number % 2 == 0)
            limit = time.monotonic() + TIMEOUT
            while proxy.resumed == before:  # no cut while the client resumes: it tries only once
                if time.monotonic() > limit:
                    raise Mismatch(f"the client did not resume after cut {number + 1}: {client.events[-3:]}")
                time.sleep(0.005)
        for load in loads:
            load.advance(10)
        theirs, ours, *calls = [load.finish() for load in loads]
        client.cancel(stream)
        stream.result(TIMEOUT)
        client.send("SendMessage", "client", "last")
        other.send("SendMessage", "other", "last")
        for connection in (client, other):
            connection.expect("ReceiveMessage", "other", "last", timeout=TIMEOUT)
            connection.expect("ReceiveMessage", "client", "last", timeout=TIMEOUT)

        def said(connection, who):
            return [e["args"][1] for e in connection.heard("ReceiveMessage") if e["args"][0] == who]

        for connection in (client, other):
            check("what the other sent", ["first", *map(str, range(theirs)), "last"], said(connection, "other"))
            check("what the client sent", [*map(str, range(ours)), "last"], said(connection, "client"))
        check("the stream", list(range(len(stream.items))), stream.items)
        check("its length", True, len(stream.items) > 100)
        check("a stream to its end", list(range(100)), client.stream("Counter", 100, 1))
        check("sockets", CUTS, proxy.opened - opened)
        check("what the client reported", [], [e for e in client.events if e["event"] != "message"])
        check("its id", client.id, driver.ask("state", client.name)["connectionId"])
        client.stop()
        return f"{theirs} + {ours} messages, {sum(calls)} calls, {len(stream.items)} items over {CUTS + 1} sockets"
    finally:
        driver.end()
        other_driver.end()
        proxy.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--base", required=True, help="the node of the client whose socket is cut")
    add("--base2", help="the node of the other client; default the same")
    add("--client", action="append", required=True, help="js10, dotnet10, dotnet8")
    add("--protocol", action="append", choices=("json", "messagepack"), help="default both")
    add("--peers", help="the unpacked folder with the .NET clients")
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
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
