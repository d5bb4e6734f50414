"""Scenarios of what may befall a connection: its sockets are cut and it comes again, it resumes, its token counts."""
import json
import threading
import time
import urllib.request

from cell import alone, holding, word
from kinds import LP
from lines import Failed, Mismatch, check

DELAYS = [0, 200, 500, 1000, 2000, 3000]


def reconnects(cell):
    """The client comes again by itself, as a new connection."""
    gate = cell.gate()
    a = cell.connect(base=gate.base, reconnect=DELAYS)
    b = cell.second()
    old = a.id
    gate.cut(0.4 if cell.transport == LP else 0)  # a browser sends a poll again by itself
    event = a.expect_event("reconnected", 25)
    a.id = event["connectionId"] or (a.invoke("ConnectionId") if cell.whole else None)
    check("a new id", True, a.id is None or a.id != old)
    check("Echo after the reconnect", "again", a.invoke("Echo", "again"))
    for sender, text in ((b, word()), (a, word())):
        sender.call("SendMessage", "after", text)
        a.expect("ReceiveMessage", "after", text)
        b.expect("ReceiveMessage", "after", text)


def resumes(cell):
    """Stateful reconnect: sockets are cut under load, and nothing is lost, doubled or out of order."""
    # The JavaScript client does not count what comes right behind the answer to its handshake, and takes as many messages twice
    # later, from every server: nobody else may come or go while it connects.
    alone(*cell.bases)
    gate = cell.gate()
    a = cell.connect(base=gate.base, stateful=True)
    b = cell.second()
    name = a.invoke("ConnectionId") if cell.whole else None
    for number in range(3):
        tag, back = word(), word()
        texts = [str(n) for n in range(60)]

        def load(sender, tag):
            for text in texts:
                sender.call("SendMessage", tag, text)

        failures = []

        def guarded(sender, tag):
            try:
                load(sender, tag)
            except (Failed, Mismatch) as failure:
                failures.append(f"{tag}: {failure}")

        threads = [threading.Thread(target=guarded, args=pair) for pair in ((b, tag), (a, back))]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        gate.cut()  # clients try the new socket but once
        for thread in threads:
            thread.join()
        check(f"calls around cut {number + 1}", [], failures)
        for who, receiver in (("a", a), ("b", b)):
            for whose, which in (("b", tag), ("a", back)):
                receiver.expect("ReceiveMessage", which, texts[-1])
                check(f"messages of {whose} to {who} around cut {number + 1}", texts, [e["args"][1] for e in receiver.heard("ReceiveMessage") if e["args"][0] == which])
    if name:
        check("the id after three cuts", name, a.invoke("ConnectionId"))
    check("endings", [], [e["event"] for e in a.events if e["event"] in ("closed", "reconnecting")])


def authorises(cell):
    """A hub that wants a token: with one, without, and with one that is not right."""
    with urllib.request.urlopen(f"{cell.side}/generateJwtToken", timeout=30) as answer:
        token = answer.read().decode()
    token = json.loads(token) if token.startswith('"') else token
    a = cell.connect(base=cell.side, path="/authorizedhub", token=token)
    check("Echo with a token", "é", a.invoke("Echo", "é"))
    head, claims, signature = token.split(".")
    wrong = ".".join((head, claims, signature[::-1]))
    for what, options in (("without a token", {}), ("with a wrong token", {"token": wrong})):
        try:
            cell.connect(base=cell.side, path="/authorizedhub", **options)
        except Failed as failure:
            check(f"error {what}", holding("401", "nauthorized", "uthorization"), str(failure))
        else:
            check(f"error {what}", "an error", None)
    check("the other lives on", "still", a.invoke("Echo", "still"))


ENDINGS = (reconnects, resumes, authorises)
