"""Drives signalrcore with JSON lines: one command per line on standard input, one answer or event per line on standard output.

The commands are those of the .NET client's driver (connect, handle, invoke, send, stream, upload, stop, start); ../lines.py sends them.
The client blocks its caller, so each command runs in a thread. Its stop() on WebSockets waits for the server's next frame.
"""
import asyncio
import concurrent.futures
import logging
import os
import threading

from signalrcore.hub import base_hub_connection
from signalrcore.hub.handlers import StreamHandler
from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.subject import Subject
from signalrcore.types import HttpTransportType, HubProtocolEncoding

from lines import from_line, heard, say, serve, to_line

logging.disable(logging.CRITICAL)
connections = {}
TRANSPORTS = {kind.value: kind for kind in HttpTransportType}


class Pending:
    """A call or a stream whose completion has not arrived yet."""

    def __init__(self):
        self.done, self.result, self.error = threading.Event(), None, None

    def complete(self, message):
        self.result, self.error = getattr(message, "result", None), getattr(message, "error", None)
        self.done.set()

    def wait(self):
        if not self.done.wait(30):
            raise TimeoutError("no completion")
        if self.error:
            raise RuntimeError(self.error)
        return to_line(self.result)


class WatchedStream(StreamHandler):
    """The object that the client's stream() returns, which also counts what the client drops.

    stream() sends the invocation before its caller can subscribe. Until then the client passes items and the completion to callbacks
    that only log a warning; here these count instead. Errors never reach a stream: the client reports them to on_error.
    """

    def __init__(self, event, invocation_id):
        super().__init__(event, invocation_id)
        self.pending, self.dropped = Pending(), 0
        self.next_callback, self.complete_callback = self.drop, self.drop_completion

    def drop(self, _):
        self.dropped += 1

    def drop_completion(self, message):
        self.drop(message)
        self.pending.complete(message)


base_hub_connection.StreamHandler = WatchedStream


class Connection:
    def __init__(self, command):
        self.command, self.name, self.handlers = command, command.get("on", ""), list(command.get("handlers") or [])
        self.pending = {}

    def start(self):
        command, opened = self.command, threading.Event()
        options = {"verify_ssl": False, "headers": dict(command.get("headers") or {})}
        if command.get("skipNegotiation"):
            options["skip_negotiation"] = True
        if command.get("transport"):
            options["transport"] = TRANSPORTS[command["transport"]]
        if token := command.get("token"):
            options["access_token_factory"] = lambda: token
        builder = HubConnectionBuilder().with_url(command["url"], options=options)
        builder.with_hub_protocol(HubProtocolEncoding.binary if command.get("protocol") == "messagepack" else HubProtocolEncoding.text)
        if delays := command.get("reconnect"):
            builder.with_automatic_reconnect({"type": "interval", "keep_alive_interval": 5, "intervals": [delay / 1000 for delay in delays]})
        self.client = builder.build()
        self.client.on_open(opened.set)
        self.client.on_close(lambda: say({"event": "closed", "on": self.name, "error": None}))
        self.client.on_reconnect(lambda: say({"event": "reconnected", "on": self.name, "connectionId": self.id()}))
        self.client.on_error(self.failed)
        for handler in self.handlers:
            self.listen(handler)
        self.client.start()
        if not opened.wait(10):
            raise ConnectionError("did not open")
        return self.id()

    def id(self):
        return None if self.command.get("skipNegotiation") else self.client.transport.connection_id

    def listen(self, handler):
        self.client.on(handler["method"], lambda args: heard(self.name, handler["method"], args))

    def failed(self, message):
        """Called with every completion that holds an error."""
        number = getattr(message, "invocation_id", None)
        if pending := self.pending.pop(number, None):
            pending.complete(message)
        for handler in self.client.stream_handlers.get(number, []):
            if isinstance(handler, WatchedStream):
                handler.pending.complete(message)

    def invoke(self, method, args):
        pending, number = Pending(), f"{id(self)}-{threading.get_ident()}-{len(self.pending)}-{method}"
        self.pending[number] = pending
        self.client.invoke(method, args, on_invocation=pending.complete, invocation_id=number)
        try:
            return pending.wait()
        finally:
            self.pending.pop(number, None)

    def stream(self, command, args):
        count = 0

        def item(value):
            nonlocal count
            count += 1
            say({"id": command["id"], "item": to_line(value)})

        stream = self.client.stream(command["method"], args)
        stream.subscribe({"next": item, "complete": stream.pending.complete, "error": stream.pending.complete})
        try:
            stream.pending.wait()
        finally:
            if stream.dropped:
                raise RuntimeError(f"the client dropped {stream.dropped} messages of the stream, which arrived before it could be subscribed to")
        return count

    def upload(self, command):
        """With this client an upload is an invocation without an answer."""
        subject = Subject()
        self.client.send(command["method"], subject)
        for item in command["uploads"][0]:
            subject.next(from_line(item))
        subject.complete()


def execute(command):
    op = command["op"]
    if op == "connect":
        connection = connections[command.get("on", "")] = Connection(command)
        return {"result": connection.start()}
    connection = connections[command.get("on", "")]
    args = from_line(command.get("args") or [])
    if op == "handle":
        connection.handlers.append(command)
        connection.listen(command)
        return {"ok": True}
    if op == "invoke":
        return {"result": connection.invoke(command["method"], args)}
    if op == "send":
        connection.client.send(command["method"], args)
        return {"ok": True}
    if op == "stream":
        return {"result": connection.stream(command, args)}
    if op == "upload":
        connection.upload(command)
        return {"result": None}
    if op == "stop":
        connection.client.stop()
        return {"ok": True}
    if op == "start":
        return {"result": connection.start()}
    raise ValueError(f'no operation "{op}"')


async def in_thread(command):
    return await asyncio.to_thread(execute, command)


async def main():
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(64))
    await serve(in_thread)
    os._exit(0)  # the threads of a client that never stopped would keep the process alive


asyncio.run(main())
