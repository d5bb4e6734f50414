"""What a scenario works with: one client, transport and protocol, and the servers that it runs against."""
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
QUIET = 0.3  # seconds in which a message that must not arrive could still arrive, after a later one has


class Cell:
    """One client, transport and protocol, and the servers that it runs against.

    The connection under test is `a`, on the first base; `b` is another connection of the same client, on the second base and with the other
    protocol if the client has two. `whole` servers offer the whole ChatHub of ASP.NET Core's test server (examples/farm.rs), others only the
    chat of the built-in configuration. `side` is a server with the hubs of examples/conformance. `typed`: the first server's methods have
    parameters of type string, which refuse other values.
    """

    def __init__(self, driver, kind, transport, protocol, bases, whole=False, side=None, typed=False):
        self.driver, self.name, self.kind, self.transport, self.protocol, self.bases = driver, kind, KINDS[kind], transport, protocol, bases
        self.whole, self.side, self.typed, self.skips, self.opened, self.gates = whole, side, typed or whole, False, [], []

    def connect(self, base=0, transport=None, protocol=None, path="/chat", **options):
        transport, at = transport or self.transport, self.bases[base] if isinstance(base, int) else base
        if self.skips and transport == WS:
            options.setdefault("skipNegotiation", True)
        connection = self.driver.connect(f"{at}{path}", transport=transport, protocol=protocol or self.protocol, **options)
        self.opened.append(connection)
        return self.known(connection, path)

    def known(self, connection, path="/chat"):
        """Some clients do not expose their connection's id: if the hub has a method for it, that is called."""
        if connection.id is None and self.whole and path == "/chat":
            connection.id = connection.invoke("ConnectionId")
        return connection

    def second(self):
        """Another connection, on the other node and with the other protocol."""
        return self.connect(base=-1, transport=WS, protocol=self.kind.carries(OTHER[self.protocol]))

    def pair(self):
        """`a`, which is under test, and `b`, after `a` has been notified that `b` has connected."""
        a = self.connect()
        b = self.second()
        if b.id:
            a.expect("UserConnected", b.id)
        return a, b

    def gate(self, base=0):
        """A TCP proxy in front of a server, whose connections can be cut."""
        gate = Gate(self.bases[base])
        self.gates.append(gate)
        return gate

    def close(self):
        for connection in self.opened:
            try:
                connection.stop()
            except (Failed, Mismatch, OSError):
                pass  # the scenario has ended it already
        for gate in self.gates:
            gate.close()


class Gate:
    """A TCP proxy in front of a server. A cut resets every socket, and may refuse new ones for a while."""

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
                    pass  # it is closed already

    @staticmethod
    def reset(end):
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
        except OSError:
            pass  # it has ended already
        end.close()

    def cut(self, seconds=0.0):
        """Resets every socket, and refuses new ones for so long."""
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
    """Waits until nobody is connected to these servers."""
    limit = time.monotonic() + 30
    for base in set(bases):
        while True:
            try:
                with urllib.request.urlopen(f"{base}/metrics", timeout=30) as answer:
                    text = answer.read().decode()
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                break  # ASP.NET Core's test server and examples/farm.rs have no metrics: the pause below must do
            if not sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("signalr_connections{")):
                break
            if time.monotonic() > limit:
                raise Mismatch(f"{base}: a client is still connected")
            time.sleep(0.02)
    time.sleep(QUIET)  # UserDisconnected of the last client may still be on its way to the other node; nothing shows when it is there


def word():
    return f"w{random.getrandbits(48):x}"


def settle(*clients):
    """Waits until everything that was sent before has arrived, which is when a later broadcast has."""
    mark = word()
    clients[0].call("SendMessage", "mark", mark)
    for client in clients:
        client.expect("ReceiveMessage", "mark", mark)
    time.sleep(QUIET)  # messages that must not arrive might take another way than the broadcast


def ending(text):
    def ends(seen):
        return seen.endswith(text)
    ends.__doc__ = f"...{text!r}"
    return ends


def holding(text):
    def holds(seen):
        return text in seen
    holds.__doc__ = f"...{text!r}..."
    return holds
