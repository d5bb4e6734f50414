"""Drives aiosignalr with JSON lines: one command per line on standard input, one answer or event per line on standard output.

The commands are those of the .NET client's driver (connect, handle, invoke, send, stream, cancel, upload, stop, start); ../lines.py sends them.
"""
import asyncio
import logging

from aiosignalr.client import HubConnection, RetryPolicy

from lines import answer, answers, from_line, heard, say, serve, to_line

logging.disable(logging.CRITICAL)
connections, streams = {}, {}


class Delays(RetryPolicy):
    def __init__(self, delays):
        self.delays = delays

    def next_retry_delay(self, context):
        at = context.previous_retry_count
        return self.delays[at] / 1000 if at < len(self.delays) else None


class Connection:
    def __init__(self, command):
        self.command, self.name = command, command.get("on", "")
        self.client = HubConnection(protocol=command.get("protocol", "json"))
        self.opened = []
        if delays := command.get("reconnect"):
            self.client.with_retry_policy(Delays(delays))
        if command.get("stateful"):
            self.client.with_stateful_reconnect()
        self.client.on_close = lambda error: say({"event": "closed", "on": self.name, "error": None if error is None else str(error)})
        self.client.on_reconnecting = lambda error: say({"event": "reconnecting", "on": self.name, "error": str(error)})
        self.client.on_reconnected = lambda: say({"event": "reconnected", "on": self.name, "connectionId": self.id()})
        for handler in command.get("handlers") or []:
            self.listen(handler)

    def id(self):
        return None  # this client does not expose it

    def listen(self, handler):
        def got(*args):
            heard(self.name, handler["method"], args)
            return answer(handler, args) if answers(handler) else None

        self.client.on(handler["method"], got)

    async def start(self):
        token, url = self.command.get("token"), self.command["url"]
        if self.command.get("skipNegotiation"):
            url = url.replace("http", "ws", 1)
        await self.client.start(
            url, headers=self.command.get("headers"), skip_negotiation=bool(self.command.get("skipNegotiation")),
            access_token_factory=(lambda: token) if token else None,
            transports={self.command["transport"]} if self.command.get("transport") else None)
        return self.id()

    async def stream(self, command, args):
        count, cancelled = 0, streams.setdefault(command["id"], asyncio.Event())
        items = await self.client.stream(command["method"], *args)
        end = asyncio.create_task(cancelled.wait())
        try:
            while True:
                following = asyncio.ensure_future(anext(items, StopAsyncIteration))
                await asyncio.wait([following, end], return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    await asyncio.wait([following])
                    return count
                if (item := following.result()) is StopAsyncIteration:
                    return count
                count += 1
                say({"id": command["id"], "item": to_line(item)})
                if count == command.get("take"):
                    return count
        finally:
            end.cancel()
            await items.aclose()

    async def upload(self, command, args):
        async with self.client.client_stream(command["method"], *args) as stream:
            for item in command["uploads"][0]:
                await stream.send_item(from_line(item))
            if "fail" in command:
                await stream.complete(command["fail"])
        return to_line(stream.result)


async def execute(command):
    op = command["op"]
    if op == "connect":
        connection = connections[command.get("on", "")] = Connection(command)
        return {"result": await connection.start()}
    if op == "cancel":
        streams[command["stream"]].set()
        return {"ok": True}
    connection = connections[command.get("on", "")]
    args = from_line(command.get("args") or [])
    if op == "handle":
        connection.listen(command)
        return {"ok": True}
    if op == "invoke":
        return {"result": to_line(await connection.client.invoke(command["method"], *args))}
    if op == "send":
        await connection.client.send(command["method"], *args)
        return {"ok": True}
    if op == "stream":
        return {"result": await connection.stream(command, args)}
    if op == "upload":
        return {"result": await connection.upload(command, args)}
    if op == "stop":
        await connection.client.stop()
        return {"ok": True}
    if op == "start":
        return {"result": await connection.start()}
    raise ValueError(f'no operation "{op}"')


asyncio.run(serve(execute))
