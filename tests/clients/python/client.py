"""pysignalr, driven by JSON lines: one command a line on standard input, one answer or event a line on standard output.

The commands are those of the .NET client's driver (connect, handle, invoke, send, state, stop, start); ../lines.py speaks them.
pysignalr knows WebSockets alone, and its public id is the one it connects with (negotiate version 0).
"""
import asyncio
import base64
import json
import logging
import sys
from urllib.parse import parse_qs, urlsplit

from pysignalr.client import SignalRClient
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

logging.disable(logging.CRITICAL)
PROTOCOLS = {"json": JSONProtocol, "messagepack": MessagepackProtocol}
connections = {}


def say(line):
    print(json.dumps(line), flush=True)


def from_line(value):
    """A value of a command, as a client would hold it."""
    if isinstance(value, list):
        return [from_line(item) for item in value]
    if isinstance(value, dict):
        if list(value) == ["$bytes"]:
            return base64.b64decode(value["$bytes"])
        return {key: from_line(item) for key, item in value.items()}
    return value


def to_line(value):
    """A value a client got, as JSON can carry it."""
    if isinstance(value, (list, tuple)):
        return [to_line(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_line(item) for key, item in value.items()}
    return {"$bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


class Connection:
    """One client: its settings, so that it can be started again, and the task it lives in."""

    def __init__(self, command):
        self.command, self.name, self.handlers, self.task = command, command.get("on", ""), [], None

    async def start(self):
        protocol = PROTOCOLS[self.command.get("protocol", "json")]()
        self.client = SignalRClient(self.command["url"], protocol=protocol, headers=dict(self.command.get("headers") or {}), retry_count=1)
        opened = asyncio.get_running_loop().create_future()

        async def on_open():
            if not opened.done():
                opened.set_result(None)

        async def on_error(_):
            pass  # the call's own callback tells it

        self.client.on_open(on_open)
        self.client.on_error(on_error)
        for handler in self.handlers:
            self.listen(handler)
        self.task = asyncio.create_task(self.live(opened))
        await asyncio.wait_for(opened, 10)
        return self.id()

    def id(self):
        return parse_qs(urlsplit(self.client._transport._url).query).get("id", [None])[0]

    async def live(self, opened):
        error = None
        try:
            await self.client.run()
        except asyncio.CancelledError:
            pass
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised} {getattr(raised, 'message', '')}"
        if not opened.done():
            opened.set_exception(ConnectionError(error))
        say({"event": "closed", "on": self.name, "error": error})

    def listen(self, handler):
        async def got(args):
            say({"event": "message", "on": self.name, "method": handler["method"], "args": [to_line(arg) for arg in args]})

        self.client.on(handler["method"], got)

    async def invoke(self, method, args):
        done = asyncio.get_running_loop().create_future()

        async def completed(message):
            if not done.done():
                done.set_result(message)

        await self.client.send(method, args, on_invocation=completed)
        message = await asyncio.wait_for(done, 30)
        if message.error:
            raise RuntimeError(message.error)
        return to_line(message.result)

    async def stop(self):
        ws = self.client._transport._ws
        if ws is not None:
            await ws.close()
        self.task.cancel()
        await asyncio.wait([self.task])


async def execute(command):
    op = command["op"]
    if op == "connect":
        connection = connections[command.get("on", "")] = Connection(command)
        connection.handlers = list(command.get("handlers") or [])
        return {"result": await connection.start()}
    connection = connections[command.get("on", "")]
    args = from_line(command.get("args") or [])
    if op == "handle":
        connection.handlers.append(command)
        connection.listen(command)
        return {"ok": True}
    if op == "invoke":
        return {"result": await connection.invoke(command["method"], args)}
    if op == "send":
        await connection.client.send(command["method"], args)
        return {"ok": True}
    if op == "stop":
        await connection.stop()
        return {"ok": True}
    if op == "start":
        return {"result": await connection.start()}
    raise ValueError(f'no operation "{op}"')


async def run(command):
    try:
        say({"id": command["id"], **await execute(command)})
    except Exception as error:
        say({"id": command["id"], "error": str(error), "type": type(error).__name__})


async def main():
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        if line.strip():
            task = asyncio.create_task(run(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


asyncio.run(main())
