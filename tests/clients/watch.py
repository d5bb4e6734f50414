"""Measures how long something takes without what the machine took: while others have the processors, nothing of this program runs either,
and that is no delay of the server's."""
import threading
import time

TICK = 0.01
overslept = 0.0  # seconds that the ticker woke late, since the first watch began
ticker = None


def tick():
    global overslept
    while True:
        before = time.monotonic()
        time.sleep(TICK)
        overslept += max(0.0, time.monotonic() - before - 2 * TICK)


def pause(seconds):
    """Gives others so much time; what the machine takes of it is given again."""
    watch = Watch()
    while (left := seconds + watch.lost() - watch.elapsed()) > 0:
        time.sleep(left)


class Watch:
    def __init__(self):
        global ticker
        if ticker is None:
            ticker = threading.Thread(target=tick, daemon=True)
            ticker.start()
        self.begun, self.before = time.monotonic(), overslept

    def elapsed(self):
        return time.monotonic() - self.begun

    def over(self, limit):
        """The time since the start without what the machine took of it, where that is more than the limit; else None."""
        elapsed = self.elapsed()
        if elapsed > limit:
            time.sleep(3 * TICK)  # a stall that is just over is in the sum by then
            elapsed -= self.lost()
        return elapsed if elapsed > limit else None

    def lost(self):
        """What the machine has taken since the start."""
        return overslept - self.before
