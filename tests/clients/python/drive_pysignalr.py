"""Drives pysignalr with JSON lines: one command per line on standard input, one answer or event per line on standard output.

The commands are those of the .NET client's driver (connect, handle, invoke, send, stream, upload, stop, start); ../lines.py sends them.
pysignalr has only WebSockets, and its connection id is the `id` that it connects with (negotiate version 0).
"""
import asyncio
import logging
from urllib.parse import parse_qs, urlsplit

from pysignalr.client import SignalRClient
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

from lines import answer, answers, from_line, heard, say, serve, to_line

logging.disable(logging.CRITICAL)
PROTOCOLS = {"json": JSONProtocol, "messagepack": MessagepackProtocol}
connections = {}


class Connection:
    """One client: its settings, so that it can be started again, and the task that runs it."""

    def __init__(self, command):
        self.command, self.name, self.handlers, self.task = command, command.get("on", ""), [], None

    async def start(self):
        protocol, headers = PROTOCOLS[self.command.get("protocol", "json")](), dict(self.command.get("headers") or {})
        if token := self.command.get("token"):
            headers["Authorization"] = f"Bearer {token}"  # it calls its access_token_factory only after it has connected
        self.client = SignalRClient(self.command["url"], protocol=protocol, headers=headers, retry_count=20 if self.command.get("reconnect") else 1,
                                    retry_sleep=0.1, retry_multiplier=1.1)
        opened = asyncio.get_running_loop().create_future()

        async def on_open():
            if opened.done():
                say({"event": "reconnected", "on": self.name, "connectionId": self.id()})
            else:
                opened.set_result(None)

        async def on_error(_):
            pass  # the callback of the call gets it too

        self.client.on_open(on_open)
        self.client.on_error(on_error)
        for handler in self.handlers:
            self.listen(handler)
        self.task = asyncio.create_task(self.live(opened))
        await asyncio.wait_for(opened, 30)
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
            heard(self.name, handler["method"], args)
            return answer(handler, args) if answers(handler) else None

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

    async def stream(self, command, args):
        done, count = asyncio.get_running_loop().create_future(), 0

        async def item(value):
            nonlocal count
            count += 1
            say({"id": command["id"], "item": to_line(value)})

        async def completed(_):
            done.set_result(None)

        async def failed(message):
            done.set_exception(RuntimeError(message.error))

        await self.client.stream(command["method"], args, item, completed, failed)
        await asyncio.wait_for(done, 30)
        return count

    async def upload(self, command):
        """With this client an upload is an invocation without an answer."""
        async with self.client.client_stream(command["method"]) as stream:
            for item in command["uploads"][0]:
                await stream.send(from_line(item))

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
    if op == "stream":
        return {"result": await connection.stream(command, args)}
    if op == "upload":
        await connection.upload(command)
        return {"result": None}
    if op == "stop":
        await connection.stop()
        return {"ok": True}
    if op == "start":
        return {"result": await connection.start()}
    raise ValueError(f'no operation "{op}"')


asyncio.run(serve(execute))
