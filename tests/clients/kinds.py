"""The clients that the tests drive: how each is started, and which features it has."""
import os
import pathlib
import shutil
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
WS, SSE, LP = "WebSockets", "ServerSentEvents", "LongPolling"
TRANSPORTS = (WS, SSE, LP)
BOTH, JSON = ("json", "messagepack"), ("json",)
EVERY = {WS: BOTH, SSE: JSON, LP: BOTH}  # MessagePack does not go over Server-Sent Events


@dataclass(frozen=True)
class Kind:
    """A client, and the features that its documentation says it has."""
    label: str
    command: tuple
    ways: dict  # protocols by transport
    # skip (connects without negotiate), cancel, upload or tell (uploads without a result), answer (client results), reconnect, stateful;
    # mute: does not expose why it was closed; nameless: nor its connection id
    can: frozenset
    exact: bool = True  # whether it has 64-bit integers

    def carries(self, protocol):
        """The protocol, if this client has it on WebSockets; else JSON."""
        return protocol if protocol in self.ways[WS] else "json"


def js(label, line, can):
    return Kind(label, ("node", HERE / "js" / "client.js", line), EVERY, frozenset(can.split()), exact=False)


def python(label, script, ways, can):
    return Kind(label, ("python", HERE / "python" / f"drive_{script}.py"), ways, frozenset(can.split()))


def dotnet(label, line, can):
    return Kind(label, ("peer", f"dotnet-client-{line}.sh"), EVERY, frozenset(can.split()))


KINDS = {
    "js10": js("@microsoft/signalr 10.0.11", "10", "skip cancel upload answer reconnect stateful"),
    "js9": js("@microsoft/signalr 9.0.19", "9", "skip cancel upload answer reconnect stateful"),
    "js8": js("@microsoft/signalr 8.0.29", "8", "skip cancel upload answer reconnect stateful"),
    "js7": js("@microsoft/signalr 7.0.14", "7", "skip cancel upload answer reconnect"),
    "js6": js("@microsoft/signalr 6.0.25", "6", "skip cancel upload reconnect"),
    "js5": js("@microsoft/signalr 5.0.17", "5", "skip cancel upload reconnect"),
    "js31": js("@microsoft/signalr 3.1.31", "31", "skip cancel upload reconnect"),
    "aspnet11": js("@aspnet/signalr 1.1.4", "aspnet11", "skip cancel"),
    "chromium": Kind("@microsoft/signalr 10.0.11 in Chromium", ("node", HERE / "browser" / "client.js"), EVERY,
                     frozenset("skip cancel upload answer reconnect stateful".split()), exact=False),
    "dotnet10": dotnet(".NET 10.0.11", "10", "skip cancel upload answer reconnect stateful"),
    "dotnet8": dotnet(".NET 8.0.30", "8", "skip cancel upload answer reconnect stateful"),
    "dotnet6": dotnet(".NET 6.0.1", "6", "skip cancel upload reconnect"),
    "java": Kind("Java 9.0.3", ("java",), {WS: JSON, LP: JSON}, frozenset("skip cancel upload answer".split())),
    "pysignalr": python("pysignalr 1.3.3", "pysignalr", {WS: BOTH}, "tell answer reconnect"),
    "signalrcore": python("signalrcore 1.0.2", "signalrcore", {WS: BOTH, SSE: JSON, LP: JSON}, "skip tell reconnect mute"),
    "aiosignalr": python("aiosignalr 0.1.1", "aiosignalr", EVERY, "skip cancel upload answer reconnect stateful mute nameless"),
}


def is_required(kind, peers):
    """Whether it is a failure that this client is not installed: skips are forbidden, and it is not one of the peers, which may be missing as a whole."""
    return bool(os.environ.get("HUBPLANE_TESTS_REQUIRE_ALL")) and not (KINDS[kind].command[0] == "peer" and peers is None)


def command(kind, peers, interpreter, java):
    """The command of a client's driver; None if it is not installed.

    `peers` is the folder with the .NET clients, `interpreter` a Python that has the Python clients, `java` the folder with the Java client.
    """
    first, *rest = KINDS[kind].command
    if first == "peer":
        script = peers and os.path.join(peers, rest[0])
        return [script] if script and os.path.exists(script) else None
    if first == "java":
        classes, jars = os.path.join(java, "out"), os.path.join(java, "lib")
        if not (shutil.which("java") and os.path.exists(os.path.join(classes, "Client.class"))):
            return None
        return ["java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", f"{classes}:{jars}/*", "Client"]
    return [str(interpreter) if first == "python" else first, *map(str, rest)]
