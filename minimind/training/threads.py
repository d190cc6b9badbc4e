"""How many threads compute, while other programs want the processor too.

A step is some thousand small pieces of work, and at the end of each the threads wait for the slowest of them. If
another program holds one of two cores, one of two threads is often not running, and the other waits for it: beside a
single busy process a step takes many times as long as alone. One thread alone would keep more than half of the speed.

Linux says how long threads that wanted to run had no core (`waited`): where ours wait, there are more threads than
cores, and the run takes fewer. Where nothing says so, and to find out that there is room again, a run measures for a
tenth of a second which number of threads gets most done now (`measure`), and takes it: when its steps grow slow, and
every few seconds while it has fewer threads than it began with. The measurement is of bounded length, whatever the
model. It can be lucky on a busy machine, so a run measures without reason too, ever more rarely.

What it cannot do: a step that is under way when the other program comes is slow to its end, and a program that
comes and goes every second is followed too late. Where the processor's matrix products depend on the number of
threads (Intel's with AMX), a change of it changes the last bits of the weights; `--threads` pins the number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..progress import counted

Item = TypeVar("Item")

MEASURED_SECONDS = 0.12
"""Length of one measurement, over all numbers of threads that are tried."""
SHORTEST_PAUSE = 2.0
"""Seconds between two measurements at least; they double while nothing changes."""
LONGEST_PAUSE, LONGEST_CALM = 8.0, 64.0
"""Seconds that they grow to: where there is reason to measure, and where there is none."""
WINDOW = 0.1
"""Seconds of steps that are looked at together, so that very short steps do not alarm by chance."""
SLOWER = 1.3
"""Times the usual step that count as slow."""
BETTER = 1.2
"""Times the speed of the present number of threads that another must reach. The gain must be worth the change."""
KEPT_CHANGES = 50
"""Changes that are remembered; the oldest are dropped."""
CROWDED = 0.3
"""Seconds that our threads together waited for a core, in each second, that say there are too many of them."""
EACH_MAY_WAIT = 0.03
"""The same for each of many threads: somewhat late are some of them always."""
CROWD_SECONDS = 0.5
"""Length over which that is looked at."""
GRAIN = 32768
"""Numbers that torch gives to one thread at least."""


def measure(threads: int, seconds: float, most: int) -> float:
    """Pieces of work a second with a number of threads, as small as those of a step, each waiting for all threads.

    Args:
        threads: number to try; torch has it afterwards.
        seconds: how long.
        most: the largest number that is tried. The work in a piece is the same for all of them.
    """
    torch.set_num_threads(threads)
    numbers = torch.zeros(most * GRAIN)
    torch.sin(numbers, out=numbers)  # Starts the threads.
    began, pieces = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        torch.sin(numbers, out=numbers)
        pieces += 1
    return pieces / (time.perf_counter() - began)


def waited() -> dict[str, float]:
    """Seconds so far that each thread of this process wanted to run and had no core; empty where no system says so."""
    seconds = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            ran, waits, *_ = path.read_text().split()  # nanoseconds; both 0 where the kernel does not count
        except (OSError, ValueError):
            continue  # The thread has ended.
        if ran != "0":
            seconds[path.parent.name] = int(waits) / 1e9
    return seconds


class Threads:
    """Chooses the number of threads while a run goes on; within its context torch has the chosen number.

    Args:
        most: number that the run was started with; never more than that.
        now: number to begin with.
        fixed: the number stays as it is: it is pinned, or the processor does not compute here.
        say: is given a sentence at each change.
        changes: list that each change is added to, `[step, threads]`.
        measure: as the function above; a test brings its own.
        set_threads: as torch's.
        clock: seconds.
        waited: as the function above.

    Attributes:
        now: the present number.
        changes: as above, oldest first.
    """

    def __init__(
        self,
        most: int,
        now: int | None = None,
        fixed: bool = False,
        say: Callable[[str], None] = lambda _: None,
        changes: list[list[int]] | None = None,
        measure: Callable[[int, float, int], float] = measure,
        set_threads: Callable[[int], Any] = torch.set_num_threads,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[], dict[str, float]] = waited,
    ) -> None:
        self.most, self.now = most, now or most
        self.fixed = fixed or most == 1
        self.say, self.measure, self.set_threads, self.clock = say, measure, set_threads, clock
        self.changes: list[list[int]] = [] if changes is None else changes
        self._usual = float("inf")  # seconds of a step with all threads, when all is well
        self._pause = self._calm = SHORTEST_PAUSE  # to the next measurement, with a reason for it and without
        self._measured = self.clock()
        self._stepped, self._steps = 0.0, 0
        self.waited = waited
        self._looked, self._waited = self.clock(), self.waited()

    def __enter__(self) -> Threads:
        self._before = torch.get_num_threads()
        if self._before != self.now:
            self.set_threads(self.now)
        return self

    def __exit__(self, *exception: object) -> None:
        self.set_threads(self._before)

    def choose(self, step: int) -> None:
        """Measure now, and take the number of threads that gets most done.

        Args:
            step: steps made so far, for `changes`.
        """
        if self.fixed:
            return
        self._crowd()
        best = self._fastest()
        if best < self.now:
            # Threads that have just been started are slow by chance. So fewer are found twice, and where the system
            # knows whether ours waited for a core, they did: half of the time, since the other half was for fewer.
            best = min(self.now, max(best, self._fastest()))
            waited = self._crowd() >= allowed(self.now) / 2
            best = best if waited or not self._waited else self.now
        elif best > self.now:
            self._crowd()
            self.measure(best, MEASURED_SECONDS / 2, self.most)
            best = self.now if self._crowd() > allowed(best) else best
        self._take(best, step)

    def _take(self, number: int, step: int) -> None:
        """Go on with so many threads, and begin to look anew."""
        self.set_threads(number)
        self._measured = self.clock()
        self._stepped, self._steps = 0.0, 0
        self._crowd()
        if number == self.now:
            return
        fewer = number < self.now
        why = "another program is busy" if fewer else "the processor has room again"
        self.say(f"{why}: {counted(number, 'thread')} instead of {self.now}")
        self.changes.append([step, number])
        del self.changes[:-KEPT_CHANGES]
        # A rise that soon had to be taken back was a mistake: the next one is tried later.
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if fewer else self._pause
        self._calm = SHORTEST_PAUSE
        self.now = number

    def _crowd(self) -> float:
        """Seconds that our threads together waited for a core, per second since the last call; 0 where unknown."""
        passed, before = self.clock() - self._looked, self._waited
        self._looked, self._waited = self.clock(), self.waited()
        # A thread that has ended takes its count with it, and one that has just begun brings all of its own.
        more = sum(seconds - before.get(thread, 0.0) for thread, seconds in self._waited.items())
        return more / passed if passed > 0 and before else 0.0

    def _fastest(self) -> int:
        """The number of threads that gets clearly more done than the present one, or the present one."""
        tried = rungs(self.most, self.now)
        speeds = dict.fromkeys(tried, 0.0)
        for number in tried * 2:  # Twice in turn: a program that comes for a moment meets more than one.
            speeds[number] += self.measure(number, MEASURED_SECONDS / len(tried) / 2, self.most)
        best = max(tried, key=speeds.__getitem__)
        # From seven threads to eight no more than a seventh can be gained.
        needed = BETTER if best < self.now else min(BETTER, 1 + (best / self.now - 1) / 2)
        return best if speeds[best] >= needed * speeds[self.now] else self.now

    def step(self, step: int, seconds: float) -> None:
        """Take in the time of a step, and measure anew if it gives reason to.

        Args:
            step: steps made so far.
            seconds: that the last of them took.
        """
        if self.fixed:
            return
        if self.now > 1 and self.clock() - self._looked >= CROWD_SECONDS:
            crowd = self._crowd()
            if crowd > allowed(self.now):
                self._take(max(1, min(self.now - 1, int(self.now - crowd))), step)
                return
        self._stepped += seconds
        self._steps += 1
        if self._stepped < WINDOW:
            return
        mean, self._stepped, self._steps = self._stepped / self._steps, 0.0, 0
        passed = self.clock() - self._measured
        if self.now < self.most or self._is_slow(mean):
            if passed >= self._pause:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self.choose(step)
        elif passed >= self._calm:
            self._pause, self._calm = SHORTEST_PAUSE, min(2 * self._calm, LONGEST_CALM)
            self.choose(step)

    def _is_slow(self, mean: float) -> bool:
        """Whether steps with all threads take longer than they usually do."""
        self._usual = min(self._usual, mean)
        slow = mean > SLOWER * self._usual
        if not slow:  # One quick window must not make all others slow.
            self._usual += 0.1 * (mean - self._usual)
        return slow

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """Hand on what is computed one by one, such as the tokens of a text, and take each for a step."""
        began = self.clock()
        for number, item in enumerate(items, start=1):
            self.step(number, self.clock() - began)
            yield item
            began = self.clock()


def allowed(threads: int) -> float:
    """Seconds in each second that so many threads together may wait before there are too many of them."""
    return max(CROWDED, EACH_MAY_WAIT * threads)


def rungs(most: int, now: int) -> list[int]:
    """Numbers of threads that are worth a try: all, one less, halves, and the present one.

    >>> rungs(8, 8), rungs(2, 1)
    ([8, 7, 4, 2, 1], [2, 1])
    """
    halves = [most >> shift for shift in range(most.bit_length())]
    return sorted({*halves, max(1, most - 1), now}, reverse=True)
