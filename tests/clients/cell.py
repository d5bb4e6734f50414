"""What a scenario is given: one client, transport and protocol, and the servers it runs against."""
import random
import socket
import struct
import threading
import time
import urllib.error
import urllib.request

from kinds import KINDS, WS
from lines import Failed, Mismatch

OTHER = {"json": "messagepack", "messagepack": "json"}
QUIET = 0.3  # what was never to come has this long to come, after something later was seen


class Cell:
    """One client, transport and protocol, and the servers it runs against.

    The client under test is `a`, on the first base; `b` is another connection of the same client, on the second base and of the other
    protocol where the client has one. `whole` servers offer the ChatHub of ASP.NET Core's test server (examples/farm.rs); others the chat of
    the built-in configuration. `side` is a server with the hubs of examples/conformance.
    """

    def __init__(self, driver, kind, transport, protocol, bases, whole=False, side=None):
        self.driver, self.name, self.kind, self.transport, self.protocol, self.bases = driver, kind, KINDS[kind], transport, protocol, bases
        self.whole, self.side, self.skips, self.opened, self.gates = whole, side, False, [], []

    def connect(self, base=0, transport=None, protocol=None, path="/chat", **options):
        transport, at = transport or self.transport, self.bases[base] if isinstance(base, int) else base
        if self.skips and transport == WS:
            options.setdefault("skipNegotiation", True)
        connection = self.driver.connect(f"{at}{path}", transport=transport, protocol=protocol or self.protocol, **options)
        self.opened.append(connection)
        return self.known(connection, path)

    def known(self, connection, path="/chat"):
        """Some clients do not tell their connection's id: where the hub does, it is asked."""
        if connection.id is None and self.whole and path == "/chat":
            connection.id = connection.invoke("ConnectionId")
        return connection

    def second(self):
        """Another connection, on the other node and of the other protocol."""
        return self.connect(base=-1, transport=WS, protocol=self.kind.carries(OTHER[self.protocol]))

    def pair(self):
        """`a` under test, and `b`, which `a` has heard of."""
        a = self.connect()
        b = self.second()
        if b.id:
            a.expect("UserConnected", b.id)
        return a, b

    def gate(self, base=0):
        """A way to a server that can be cut."""
        gate = Gate(self.bases[base])
        self.gates.append(gate)
        return gate

    def close(self):
        for connection in self.opened:
            try:
                connection.stop()
            except (Failed, Mismatch, OSError):
                pass  # it had ended already
        for gate in self.gates:
            gate.close()


class Gate:
    """Passes TCP on to a server, until it is cut: then every socket is reset, and none taken for a moment."""

    def __init__(self, base):
        host, port = base.removeprefix("http://").split(":")
        self.target, self.sockets, self.lock, self.down = (host, int(port)), set(), threading.Lock(), False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.down:
                    self.reset(client)
                    continue
                try:
                    server = socket.create_connection(self.target, 5)
                    for end in (client, server):
                        end.settimeout(None)
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    self.reset(client)
                    continue
                self.sockets |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (one, other):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is closed

    @staticmethod
    def reset(end):
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RD)  # wakes whoever reads
        except OSError:
            pass  # it has ended already
        end.close()

    def cut(self, seconds=0.0):
        with self.lock:
            self.down = seconds > 0
            for end in self.sockets:
                self.reset(end)
            self.sockets.clear()
        time.sleep(seconds)
        self.down = False

    def close(self):
        self.cut()
        self.listener.close()


def alone(*bases):
    """Waits until nobody is connected to these servers. One that does not tell (ASP.NET Core) gets a moment."""
    limit = time.monotonic() + 30
    for base in set(bases):
        while True:
            try:
                with urllib.request.urlopen(f"{base}/metrics", timeout=30) as answer:
                    text = answer.read().decode()
            except urllib.error.HTTPError:
                break
            if not sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("signalr_connections{")):
                break
            if time.monotonic() > limit:
                raise Mismatch(f"{base}: somebody is still connected")
            time.sleep(0.02)
    time.sleep(QUIET)


def word():
    return f"w{random.getrandbits(48):x}"


def settle(*clients):
    """Whatever was sent before has come by now: a later broadcast has."""
    mark = word()
    clients[0].call("SendMessage", "mark", mark)
    for client in clients:
        client.expect("ReceiveMessage", "mark", mark)
    time.sleep(QUIET)


def ending(text):
    def ends(seen):
        return seen.endswith(text)
    ends.__doc__ = f"...{text!r}"
    return ends


def holding(*texts):
    def holds(seen):
        return any(text in seen for text in texts)
    holds.__doc__ = f"with {' or '.join(map(repr, texts))}"
    return holds
