"""Helpers of the Python drivers: values as JSON lines carry them, and the loop that executes commands."""
import asyncio
import base64
import json
import sys
import threading

OUTPUT = threading.Lock()  # print() writes a line and its line break separately


def say(line):
    with OUTPUT:
        print(json.dumps(line), flush=True)


def from_line(value):
    """A value of a command, as a program would pass it to the client."""
    if isinstance(value, list):
        return [from_line(item) for item in value]
    if isinstance(value, dict):
        if list(value) == ["$bytes"]:
            return base64.b64decode(value["$bytes"])
        return {key: from_line(item) for key, item in value.items()}
    return value


def to_line(value):
    """A value received by the client, as JSON can carry it."""
    if isinstance(value, (list, tuple)):
        return [to_line(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_line(item) for key, item in value.items()}
    return {"$bytes": base64.b64encode(value).decode()} if isinstance(value, (bytes, bytearray)) else value


def heard(name, method, args):
    say({"event": "message", "on": name, "method": method, "args": [to_line(arg) for arg in args]})


def answers(handler):
    """Whether a handler returns a client result."""
    return any(key in handler for key in ("answer", "echo", "fail"))


def answer(handler, args):
    """The client result of a handler."""
    if "fail" in handler:
        raise RuntimeError(handler["fail"])
    return args[0] if handler.get("echo") else from_line(handler["answer"])


async def serve(execute):
    """Runs `execute`(command) for each command line, concurrently, until standard input ends."""
    async def run(command):
        try:
            say({"id": command["id"], **await execute(command)})
        except Exception as error:
            say({"id": command["id"], "error": str(error) or repr(error), "type": type(error).__name__})

    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()
    while line := await reader.readline():
        if line.strip():
            task = asyncio.create_task(run(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
