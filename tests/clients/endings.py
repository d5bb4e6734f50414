"""Scenarios of endings: sockets are cut and the client reconnects or resumes, and a hub that requires a token refuses a client."""
import itertools
import json
import threading
import urllib.request

from cell import alone, holding, word
from kinds import LP
from lines import Failed, Mismatch, check

DELAYS = [0, 200, 500, 1000, 2000, 3000]
# What a client says when negotiate is answered with 401, if it does not say 401.
UNAUTHORIZED = {**dict.fromkeys(("js5", "js31", "aspnet11"), "Unauthorized"), "pysignalr": "AuthorizationError"}


def reconnects(cell):
    """The client reconnects by itself, as a new connection."""
    gate = cell.gate()
    a = cell.connect(base=gate.base, reconnect=DELAYS)
    b = cell.second()
    old = a.id
    # For a while no new socket is accepted on long polling: a browser repeats a poll by itself, and would not notice a short cut.
    gate.cut(0.4 if cell.transport == LP else 0)
    event = a.expect_event("reconnected", 25)
    a.id = event["connectionId"] or a.invoke("ConnectionId")
    check("a new id", True, a.id != old)
    check("Echo after the reconnect", "again", a.invoke("Echo", "again"))
    for sender, text in ((b, word()), (a, word())):
        sender.call("SendMessage", "after", text)
        a.expect("ReceiveMessage", "after", text)
        b.expect("ReceiveMessage", "after", text)


def resumes(cell):
    """Stateful reconnect: sockets are cut under load, and no message is lost, doubled or out of order."""
    # The JavaScript client does not count messages that arrive right after the answer to its handshake, and later accepts as many messages
    # twice, with every server. So no other client may connect or disconnect while it connects.
    alone(*cell.bases)
    gate = cell.gate()
    a = cell.connect(base=gate.base, stateful=True)
    b = cell.second()
    name = a.invoke("ConnectionId")
    for number in range(3):
        tags, sent, failures, cut = {"a": word(), "b": word()}, {}, [], threading.Event()

        def load(sender, who):
            """Calls SendMessage again and again, 30 times after the cut."""
            try:
                left = 30
                for text in map(str, itertools.count()):
                    sender.call("SendMessage", tags[who], text)
                    sent.setdefault(who, []).append(text)
                    left -= cut.is_set()
                    if not left:
                        return
            except (Failed, Mismatch) as failure:
                failures.append(f"{who}: {failure}")

        threads = [threading.Thread(target=load, args=pair) for pair in ((a, "a"), (b, "b"))]
        for thread in threads:
            thread.start()
        try:
            for receiver in (a, b):  # the load has begun, in both directions
                for who in "ab":
                    receiver.expect("ReceiveMessage", tags[who], "4")
            gate.cut()  # new sockets are accepted at once: clients try only once to resume
        finally:
            cut.set()
            for thread in threads:
                thread.join()
        check(f"calls around cut {number + 1}", [], failures)
        for to, receiver in (("a", a), ("b", b)):
            for who in "ab":
                receiver.expect("ReceiveMessage", tags[who], sent[who][-1])
                seen = [e["args"][1] for e in receiver.heard("ReceiveMessage") if e["args"][0] == tags[who]]
                check(f"messages of {who} to {to} around cut {number + 1}", sent[who], seen)
    check("the id after three cuts", name, a.invoke("ConnectionId"))
    check("endings", [], [e["event"] for e in a.events if e["event"] in ("closed", "reconnecting")])


def authorises(cell):
    """A hub that requires a token: with a valid one, with none, and with an invalid one."""
    with urllib.request.urlopen(f"{cell.side}/generateJwtToken", timeout=30) as answer:
        token = answer.read().decode()
    token = json.loads(token) if token.startswith('"') else token
    a = cell.connect(base=cell.side, path="/authorizedhub", token=token)
    check("Echo with a token", "é", a.invoke("Echo", "é"))
    head, claims, signature = token.split(".")
    invalid = ".".join((head, claims, signature[::-1]))
    for what, options in (("without a token", {}), ("with an invalid token", {"token": invalid})):
        try:
            cell.connect(base=cell.side, path="/authorizedhub", **options)
        except Failed as failure:
            check(f"error {what}", holding(UNAUTHORIZED.get(cell.name, "401")), str(failure))
        else:
            check(f"error {what}", "an error", None)
    check("the other connection still works", "still", a.invoke("Echo", "still"))


ENDINGS = (reconnects, resumes, authorises)
