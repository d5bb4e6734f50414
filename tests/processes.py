"""The server processes that suites need: starts them on free ports, waits until they are ready, and ends them whatever happens."""
import atexit
import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = pathlib.Path(os.environ.get("HUBPLANE_BIN") or TARGET / "debug" / "hubplane")
PYTHON = ROOT / "target" / "venv" / "bin" / "python"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("HUBPLANE_") and name != "RUST_LOG"}
# Passed on to the programs that run tests: whether it is a failure if something is not installed.
REQUIRE_ALL = {name: value for name, value in os.environ.items() if name == "HUBPLANE_TESTS_REQUIRE_ALL" and value}
living = []


def end(process, timeout=5):
    """Ends a process and everything that it has started: with SIGTERM, and with SIGKILL if it is still there after `timeout` seconds."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signum)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def end_all():
    while living:
        end(living.pop(), 2)


def interrupted(signum, _frame):
    sys.exit(128 + signum)  # this runs what is registered with atexit


def guard():
    """Makes sure that no process outlives this program."""
    atexit.register(end_all)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupted)


def spawn(command, **options):
    process = subprocess.Popen([str(part) for part in command], start_new_session=True, stdin=subprocess.DEVNULL, **options)
    living.append(process)
    return process


ports = itertools.count(os.getpid() % 1900)


def free_port():
    """A port for a server that starts, or starts again, later. It is below the range from which the system takes the ports of connections and
    of listeners on port 0, so that nothing else gets it in the meantime; above all not a client that connects while nothing listens there."""
    while True:
        port = 24000 + next(ports) % 2000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def until(what, holds, timeout=60):
    limit = time.monotonic() + timeout
    while True:
        if result := holds():
            return result
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def status(url):
    """The status of a GET; 0 if there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Server:
    """A server process, its log and its output. It is ready when it prints a line that matches `says`."""

    def __init__(self, name, command, says, env=None):
        # A folder of its own, so that no hubplane.toml of this checkout has an effect.
        self.name, self.temporary = name, tempfile.TemporaryDirectory(prefix="hubplane-test-")
        self.folder, self.closed = self.temporary.name, False
        self.log = open(pathlib.Path(self.folder) / "log", "w+b")
        self.command, self.env, self.says = command, {**CLEAN, **(env or {})}, says
        self.start()

    def start(self):
        self.process = spawn(self.command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.said, self.news = None, threading.Event()
        threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True).start()
        until(f"{self.name} says {self.says}", self.started)

    def started(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        return self.news.is_set()

    def read(self, output):
        for line in output:
            if found := re.search(self.says, line):
                self.said = found
                self.news.set()

    def stop(self, signum=signal.SIGTERM, timeout=20):
        """Sends a signal, waits for the process's end and returns its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(timeout)

    def close(self):
        """Ends the process. One that has ended by itself before has crashed."""
        if self.closed:
            return
        self.closed, crashed = True, self.process.poll()
        if self.process in living:
            living.remove(self.process)
        end(self.process)
        if crashed is not None:
            raise RuntimeError(f"{self.name} had ended with {crashed}:\n{self.tail()}")

    def tail(self, lines=60):
        self.log.flush()
        return "\n".join(pathlib.Path(self.log.name).read_text(errors="replace").splitlines()[-lines:])


class Redis(Server):
    def __init__(self):
        self.port = free_port()
        command = [os.environ.get("REDIS_SERVER", "redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__("redis", command, "Ready to accept connections")
        # So that servers do not give it up only because it, or they, get no processor for some seconds.
        self.connection = f"127.0.0.1:{self.port},asyncTimeout=60000,connectTimeout=30000"


class Hubplane(Server):
    """The binary with its built-in configuration and these environment variables (without the prefix HUBPLANE_)."""

    def __init__(self, name="hubplane", redis=None, port=0, binary=BINARY, **settings):
        if redis:
            settings["BACKPLANE__CONNECTION"] = redis.connection
        env = {f"HUBPLANE_{key}": str(value) for key, value in {"LISTEN": f"127.0.0.1:{port}", "LOG": "info", **settings}.items()}
        super().__init__(name, [binary], r"http://[\w.\[\]:]+:(\d+)", env)
        self.base = f"http://127.0.0.1:{self.said[1]}"
        until(f"{name} is ready", lambda: status(f"{self.base}/readyz") == 200)


class Farmer(Server):
    """examples/farm.rs: a program that uses the library and has the hub of ASP.NET Core's test server."""

    def __init__(self, redis=None, prefix="", *flags, name="farm"):
        command = [TARGET / "debug" / "examples" / "farm", "--listen", "127.0.0.1:0", "--keepalive", 1, "--stateful", "true", *flags]
        command += ["--redis", redis.connection] if redis else []
        super().__init__(name, command + (["--prefix", prefix] if prefix else []), r"ready (\d+)")
        self.base = f"http://127.0.0.1:{self.said[1]}"


class Conformance(Server):
    """examples/conformance: the hubs and pages that the test suites of clients need."""

    def __init__(self, *flags):
        command = [TARGET / "debug" / "examples" / "conformance", "--listen", "127.0.0.1:0", *flags]
        super().__init__("conformance", command, r"ready (\d+)")
        self.base = f"http://127.0.0.1:{self.said[1]}"


class Aspnet(Server):
    """The real ASP.NET Core server, one of the peers."""

    def __init__(self, peers, name="aspnet", redis=None, prefix="", stateful=False):
        port = free_port()
        command = [pathlib.Path(peers) / "aspnet-server.sh", "--port", port, "--keepalive", "1", "--stateful", str(stateful).lower()]
        command += ["--redis", redis.connection] if redis else []
        super().__init__(name, command + (["--prefix", prefix] if prefix else []), r"ready (\d+)")
        self.base = f"http://127.0.0.1:{port}"


def peers():
    """The folder with the unpacked peers: the ASP.NET Core server and the .NET clients. None if they are not installed."""
    source = pathlib.Path(os.environ.get("HUBPLANE_PEERS") or ROOT.parent / "shared" / "peers")
    if not (source / "setup.sh").exists():
        return None
    folder = ROOT / "target" / "peers"
    subprocess.run([source / "setup.sh", folder], check=True, stdin=subprocess.DEVNULL)
    return folder
