"""Measures how long something takes, without the time in which the machine did not run this program: while other processes have the
processors, nothing of this program runs either, and that is not a delay of the server's."""
import threading
import time

TICK = 0.01
overslept = 0.0  # how many seconds late the ticker woke up, summed since the first watch started
ticker = None


def tick():
    global overslept
    while True:
        before = time.monotonic()
        time.sleep(TICK)
        overslept += max(0.0, time.monotonic() - before - 2 * TICK)


def pause(seconds):
    """Sleeps for this long, plus the time in which the machine did not run this program."""
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
        """The time since the start, without what the machine took of it, if that is more than the limit; else None."""
        elapsed = self.elapsed()
        if elapsed > limit:
            time.sleep(3 * TICK)  # gives the ticker time to add a stall that is just over
            elapsed -= self.lost()
        return elapsed if elapsed > limit else None

    def lost(self):
        """How many seconds the machine did not run this program since the start."""
        return overslept - self.before
