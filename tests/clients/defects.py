"""Known defects of the clients, which show with any server: the cells they affect, and the failure they cause there.

A cell that fails in any other way is a failure. A cell that passes in spite of a defect is passed.
"""
import re
from dataclasses import dataclass

from kinds import LP, SSE, WS


@dataclass(frozen=True)
class Defect:
    kinds: tuple
    scenarios: tuple
    words: str
    text: str | None  # a regular expression that matches the failure; None: the cell is not played, because it would do harm
    transports: tuple = (WS, SSE, LP)
    protocols: tuple = ("json", "messagepack")

    def explains(self, failure):
        return re.search(self.text, failure, re.S) is not None


DEFECTS = (
    Defect(("aspnet11",), ("cancels",), "it cannot write the message that cancels a stream", "Invalid message type", protocols=("messagepack",)),
    Defect(("java",), ("broadcasts", "uploads"), "it sends its POSTs in parallel, so that they arrive in any order", "order of a burst|Concat|Sum|Reading", transports=(LP,)),
    Defect(("aiosignalr",), ("streams", "cancels", "uploads", "answers"), "the headers of its StreamItem, Completion and CancelInvocation are not a map",
           "losed|DISCONNECTED|404|1000|An unexpected error", protocols=("messagepack",)),
    Defect(("aiosignalr",), ("resumes",), "a call that is made while the socket is cut fails instead of waiting", "no close frame received or sent|Connection is not active"),
    Defect(("signalrcore",), ("uploads",), "its invocation of an upload has no invocation id", "UploadComplete|Socket closed", protocols=("messagepack",)),
    Defect(("signalrcore",), ("streams",), "it invokes a stream before the program can subscribe to it, and drops what arrives in between: "
           "the first items, or the end of an empty stream", r"the client dropped \d+ messages of the stream"),
    Defect(("signalrcore",), ("reconnects",), "it keeps polling after a poll has failed, and never reconnects", "reconnected: not seen", transports=(LP,)),
    Defect(("signalrcore",), ("connects", "echoes", "broadcasts", "broadcast_values", "groups", "others", "errors", "restarts", "too_large", "streams", "uploads", "aborts"),
           "it handles only the first message of a poll's answer; the others wait for the next polls", "no answer within|not seen within", transports=(LP,)),
    Defect(("signalrcore",), ("authorises",), "its long polls carry no token, and it never stops polling", None, transports=(LP,)),
)


def defects(kind, transport, protocol, scenario):
    """The known defects of a client that affect this cell."""
    return [known for known in DEFECTS
            if kind in known.kinds and scenario in known.scenarios and transport in known.transports and protocol in known.protocols]
