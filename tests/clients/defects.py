"""What clients get wrong by themselves, whatever the server: the cells it costs, and how it shows there.

A cell that fails in another way than told here counts as failed. A cell that passes in spite of it counts as passed.
"""
import re
from dataclasses import dataclass

from kinds import LP, SSE, WS


@dataclass(frozen=True)
class Defect:
    kinds: tuple
    scenarios: tuple
    words: str
    text: str | None  # what the failure holds (a regular expression); None: the cell is not tried, since it would do harm
    transports: tuple = (WS, SSE, LP)
    protocols: tuple = ("json", "messagepack")

    def explains(self, failure):
        return re.search(self.text, failure, re.S) is not None


DEFECTS = (
    Defect(("aspnet11",), ("cancels",), "it cannot write the message that cancels a stream", "Invalid message type", protocols=("messagepack",)),
    Defect(("java",), ("broadcasts", "uploads"), "it sends its POSTs in parallel, so that their order is the network's", "order of a burst|Concat|Sum|Reading", transports=(LP,)),
    Defect(("aiosignalr",), ("streams", "cancels", "uploads", "answers"), "the headers of its StreamItem, Completion and CancelInvocation are no map",
           "losed|DISCONNECTED|404|1000|An unexpected error", protocols=("messagepack",)),
    Defect(("aiosignalr",), ("resumes",), "a call in the moment of the cut fails instead of waiting", "no close frame received or sent|Connection is not active"),
    Defect(("signalrcore",), ("uploads",), "its call of an upload has no invocation id", "UploadComplete|Socket closed", protocols=("messagepack",)),
    Defect(("signalrcore",), ("streams",), "it calls a stream before it can be told to whom the items go, and loses the first", "items of"),
    Defect(("signalrcore",), ("reconnects",), "a poll that fails is no end to it: it polls on", "reconnected: not seen", transports=(LP,)),
    Defect(("signalrcore",), ("connects", "echoes", "broadcasts", "broadcast_values", "groups", "others", "errors", "restarts", "too_large", "streams", "uploads", "aborts"),
           "of the messages in one poll it takes the first, and the next when another poll has come", "no answer within|not seen within", transports=(LP,)),
    Defect(("signalrcore",), ("authorises",), "its long polls carry no token, and it never leaves their loop", None, transports=(LP,)),
)


def defects(kind, transport, protocol, scenario):
    """What is known to be wrong with a client there."""
    return [known for known in DEFECTS
            if kind in known.kinds and scenario in known.scenarios and transport in known.transports and protocol in known.protocols]
