"""Scenarios of calls in both directions: streams, their cancellation, uploads, client results. The servers are whole (see cell.py)."""
from cell import holding
from kinds import LP, WS
from lines import Failed, check

# What a client answers when it has no handler for the method.
UNANSWERED = {**dict.fromkeys(("dotnet8", "dotnet10", "java"), "Client failed to parse argument(s)."), "aiosignalr": "Unknown hub method 'Answer'"}


def streams(cell):
    a = cell.connect()
    check("items of Counter", list(range(8)), a.stream("Counter", 8, 1))
    check("items of an empty stream", [], a.stream("Counter", 0, 1))
    check("items of two streams at once", [list(range(30))] * 2, [call.result() and call.items for call in [a.begin_stream("Counter", 30, 2) for _ in "ab"]])
    for method, args, items, text in (
        ("CounterThenThrow", (3,), [0, 1, 2], "HubException: the stream broke"),
        ("Nope", (), [], "Method does not exist."),
        ("Echo", (1,), [], "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation."),
    ):
        try:
            a.stream(method, *args)
        except Failed as failure:
            check(f"error of the stream {method}", holding(text), str(failure))
            check(f"items of the stream {method}", items, failure.items)
        else:
            check(f"error of the stream {method}", text, None)
    check("the connection still works", "still", a.invoke("Echo", "still"))


def cancels(cell):
    a = cell.connect()
    items = a.stream("Counter", 100000, 20, take=3)
    check("items before the cancellation", [0, 1, 2], items[:3])  # more may arrive before the cancellation does
    check("the connection still works", "still", a.invoke("Echo", "still"))
    if cell.side:
        other = cell.connect(base=cell.side, path="/testhub")
        call = other.begin_stream("InfiniteStream")
        check("Echo before the cancellation", "there", other.invoke("Echo", "there"))
        other.cancel(call)
        other.expect("StreamCanceled")
        check("items of the cancelled stream", [], call.items)
        check("Echo after the cancellation", "still there", other.invoke("Echo", "still there"))


def uploads(cell):
    if "tell" in cell.kind.can:  # with this client an upload is an invocation without an answer
        if not cell.side:
            return
        a = cell.connect(base=cell.side, path="/weatherHub")
        a.upload("UploadStream", [1, 2, 30])
        a.expect("UploadComplete", 33)
        return
    a = cell.connect()
    pause = {"delay": 2} if cell.transport == LP else {}  # so that each item is a POST of its own
    check("Concat", "aé😀z", a.upload("Concat", ["a", "é", "😀", "z"], **pause))
    check("Concat of nothing", "", a.upload("Concat", []))
    count = 400 if cell.transport == WS else 40
    check("Sum", count * (count + 1) // 2, a.upload("Sum", list(range(1, count + 1))))
    try:
        result = a.upload("Concat", ["a"], fail="it broke here")
    except Failed as failure:
        check("error of an upload that breaks", holding("An unexpected error occurred invoking 'Concat' on the server."), str(failure))
    else:
        check("error of an upload that breaks", "an error", result)
    check("the connection still works", "still", a.invoke("Echo", "still"))


def answers(cell):
    """`b` invokes a method of other clients: one answers, one fails, one has no handler, and one does not exist."""
    b = cell.second()
    question = {"text": "é😀", "list": [1, None, {"deep": True}]}
    a = cell.connect(handlers=[{"method": "Answer", "count": 1, "echo": True}])
    failing = cell.connect(handlers=[{"method": "Answer", "count": 1, "fail": "no answer today"}])
    silent = cell.connect()
    for client in (a, failing, silent):
        # A client is connected a little before the hub, and the other node, can reach it. Once a call is answered, they can.
        check("Echo of a client that is to be asked", True, client.invoke("Echo", True))
    check("the answer", question, b.invoke("Ask", a.id, question))
    check("twenty answers", list(range(20)), [b.invoke("Ask", a.id, number) for number in range(20)])
    check("questions that arrived", 21, len(a.heard("Answer")))
    check("error of an answer", holding("no answer today"), b.error_of("Ask", failing.id, 1))
    check("error without a handler", holding(UNANSWERED.get(cell.name, "Client didn't provide a result.")), b.error_of("Ask", silent.id, 1))
    check("error of a connection that does not exist", holding("An unexpected error occurred invoking 'Ask' on the server."), b.error_of("Ask", "nobody", 1))
    for client in (a, failing, silent, b):
        check("the connection still works", "still", client.invoke("Echo", "still"))


def aborts(cell):
    """The hub closes the connection from within a call: the call and a running stream fail, and the client is notified that it is closed."""
    a = cell.connect()
    b = cell.second()
    stream = a.begin_stream("Counter", 100000, 20)
    call = a.driver.begin("invoke", a.name, method="Abort", args=[])
    a.expect_event("closed")
    for what, pending in () if "tell" in cell.kind.can else (("call", call), ("stream", stream)):  # with such a client, neither ever ends
        try:
            result = pending.result()
        except Failed:
            check(f"a second answer of the {what}", True, pending.lines.empty())
        else:
            check(f"end of the {what}", "an error", result)
    b.expect("UserDisconnected", a.id)
    check("the other connection still works", "still", b.invoke("Echo", "still"))


CALLS = (streams, cancels, uploads, answers, aborts)
