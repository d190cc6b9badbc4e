"""The number of threads beside other programs: what is measured, what is decided, what is written down."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from tiny_runs import tiny_settings

import minimind.training.log as log_module
import minimind.training.loop as loop_module
from minimind.errors import UserError
from minimind.training import pretrain
from minimind.training import threads as threads_module
from minimind.training.checkpoint import find_checkpoints, read_state
from minimind.training.log import Log, Pace
from minimind.training.tally import Tally
from minimind.training.threads import KEPT_CHANGES, MEASURED_SECONDS, Threads, measure


class Machine:
    """A machine with a clock that only moves when something is computed, and other programs that hold its cores.

    A thread that shares its core is half as fast, and all wait for the slowest; waiting costs more on top.
    """

    def __init__(self, cores: int) -> None:
        self.cores, self.busy, self.seconds, self.threads = cores, 0, 0.0, cores
        self.measured: list[float] = []
        self.lucky = 0
        self.waiting, self.asked = 0.0, 0.0
        self.said: list[str] = []

    def speed(self, threads: int) -> float:
        shared = threads + self.busy > self.cores
        return threads / (2 * 5 if shared and threads > 1 else 1)

    def measure(self, threads: int, seconds: float, most: int) -> float:
        self.waited()  # up to here, with the threads of before
        self.threads = threads
        self.seconds += seconds
        self.measured.append(self.seconds)
        if self.lucky:
            self.lucky -= 1
            return float(threads)
        return self.speed(threads)

    def new(self, **given) -> Threads:
        return Threads(
            self.cores,
            say=self.said.append,
            measure=self.measure,
            set_threads=lambda number: setattr(self, "threads", number),
            clock=lambda: self.seconds,
            **{"waited": dict, **given},
        )

    def waited(self) -> dict[str, float]:
        """As Linux says it: where there are more threads than cores, each waits for its share of the time."""
        self.waiting += (self.seconds - self.asked) * self.crowd
        self.asked = self.seconds
        return {"all of them": self.waiting}

    @property
    def crowd(self) -> float:
        wanting = self.threads + self.busy
        return self.threads * max(0, wanting - self.cores) / wanting

    def train(self, chosen: Threads, seconds: float, work: float = 0.2) -> float:
        """Make steps for a time; gives the share of the speed alone that they reached, measurements included."""
        began, steps, end = self.seconds, 0, self.seconds + seconds
        while self.seconds < end:
            took = work / self.speed(self.threads)
            self.waited()
            self.seconds += took
            steps += 1
            chosen.step(steps, took)
        return steps * work / self.cores / (self.seconds - began)


def test_a_quiet_machine_keeps_all_threads_and_is_asked_ever_more_rarely():
    machine = Machine(2)
    chosen = machine.new()
    chosen.choose(0)
    assert machine.train(chosen, 100) > 0.99
    assert (machine.threads, chosen.changes, machine.said) == (2, [], [])
    measurements = [machine.measured[index] for index in range(0, len(machine.measured), 4)]
    assert len(measurements) == 6  # at 0, 2, 6, 14, 30, 62 seconds
    assert measurements[-1] - measurements[-2] > 30


def test_a_program_that_comes_costs_one_slow_step_and_is_followed_when_it_goes():
    machine = Machine(2)
    chosen = machine.new()
    chosen.choose(0)
    machine.train(chosen, 20)
    machine.busy = 1
    assert machine.train(chosen, 60) > 0.45  # 0.5 is one of two threads
    assert (machine.threads, chosen.now) == (1, 1)
    assert machine.said == ["another program is busy: 1 thread instead of 2"]
    machine.busy = 0
    machine.train(chosen, 10)
    assert machine.threads == 2
    assert machine.said[1:] == ["the processor has room again: 2 threads instead of 1"]
    assert [threads for _, threads in chosen.changes] == [1, 2]


def test_threads_that_wait_for_a_core_are_too_many_even_if_no_measurement_finds_so():
    machine = Machine(2)
    machine.busy, machine.lucky = 1, 10**9  # each measurement finds that two threads are twice as fast
    chosen = machine.new(waited=machine.waited)
    chosen.choose(0)
    assert machine.train(chosen, 120) > 0.4
    assert machine.threads == 1
    assert machine.said == ["another program is busy: 1 thread instead of 2"]
    machine.busy = 0
    machine.train(chosen, 20)
    assert machine.threads == 2


def test_slow_measurements_take_no_thread_where_none_waited():
    machine = Machine(2)
    chosen = machine.new(waited=machine.waited)
    chosen.measure = lambda threads, seconds, most: machine.measure(threads, seconds, most) / threads**2
    chosen.choose(0)
    assert machine.train(chosen, 100) > 0.98
    assert (machine.threads, machine.said) == (2, [])


def test_of_many_threads_as_many_go_as_wait():
    machine = Machine(8)
    machine.busy, machine.lucky = 3, 10**9
    chosen = machine.new(waited=machine.waited)
    machine.train(chosen, 5)
    assert machine.threads == 5


def test_threads_that_have_their_cores_stay():
    machine = Machine(2)
    chosen = machine.new(waited=machine.waited)
    machine.train(chosen, 60)
    assert (machine.threads, machine.said) == (2, [])


def test_linux_says_how_long_our_threads_waited():
    if not threads_module.waited():
        pytest.skip("this system does not say")
    chosen = Threads(2)
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        assert chosen._crowd() > 0.2
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_thread_that_ended_takes_nothing_from_what_the_others_waited():
    machine = Machine(4)
    counts = iter([{"1": 5.0, "2": 9.0}, {"1": 6.0}])
    chosen = machine.new(waited=lambda: next(counts))
    machine.seconds += 1.0
    assert chosen._crowd() == 1.0


def test_many_threads_that_wait_a_little_each_stay():
    machine = Machine(64)
    chosen = machine.new(waited=lambda: {"all of them": 1 + 0.6 * machine.seconds})
    machine.train(chosen, 60)
    assert (machine.threads, machine.said) == (64, [])


def test_a_run_that_starts_on_a_busy_machine_begins_with_fewer():
    machine = Machine(2)
    machine.busy = 1
    chosen = machine.new()
    chosen.choose(0)
    assert (machine.threads, chosen.changes) == (1, [[0, 1]])
    assert machine.train(chosen, 30) > 0.45


@pytest.mark.parametrize("lucky", [1, 3])
def test_a_lucky_measurement_on_a_busy_machine_is_not_the_last(lucky):
    machine = Machine(2)
    machine.busy, machine.lucky = 1, 4 * lucky  # four calls a measurement
    chosen = machine.new()
    chosen.choose(0)
    assert machine.threads == 2
    machine.train(chosen, 20)
    assert machine.threads == 1


def test_with_many_cores_only_as_many_are_left_as_others_use():
    machine = Machine(8)
    chosen = machine.new()
    chosen.choose(0)
    machine.train(chosen, 10)
    for busy, expected in ((1, 7), (0, 8), (3, 4), (6, 2), (0, 8)):
        machine.busy = busy
        machine.train(chosen, 15)
        assert (busy, machine.threads) == (busy, expected)


def test_steps_of_uneven_length_change_nothing_and_cost_little():
    machine = Machine(2)
    chosen = machine.new()
    chosen.choose(0)
    for number in range(400):
        machine.train(chosen, 0.1, work=0.4 if number % 3 else 0.1)
    assert chosen.changes == []
    spent = len(machine.measured) * MEASURED_SECONDS / 4
    assert spent < 0.03 * machine.seconds


def test_a_single_disturbed_measurement_does_not_take_threads_away():
    machine = Machine(2)
    speeds = iter([0.1, 1.0] * 2 + [2.0, 1.0] * 2)
    machine.measure = lambda threads, seconds, most: next(speeds)
    chosen = machine.new()
    chosen.choose(0)
    assert chosen.changes == []


def test_a_gain_that_is_not_worth_it_changes_nothing():
    machine = Machine(2)
    machine.measure = lambda threads, seconds, most: 1.1 if threads == 1 else 1.0
    chosen = machine.new()
    chosen.choose(0)
    assert chosen.now == 2


@pytest.mark.parametrize("given", [{"fixed": True}, {"fixed": True, "now": 1}])
def test_a_pinned_number_is_never_measured_nor_changed(given):
    machine = Machine(2)
    machine.busy = 1
    chosen = machine.new(**given)
    chosen.choose(0)
    machine.train(chosen, 20)
    assert (machine.measured, chosen.changes, chosen.now) == ([], [], given.get("now", 2))


def test_the_changes_that_are_kept_are_bounded():
    machine = Machine(2)
    chosen = machine.new()
    for number in range(200):
        machine.busy = number % 2
        chosen.choose(number)
    assert len(chosen.changes) == KEPT_CHANGES
    assert chosen.changes[-1] == [199, 1]


def test_torch_has_its_number_again_afterwards():
    before = torch.get_num_threads()
    with Threads(before + 1, fixed=True):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    try:
        assert measure(1, 0.005, 2) > 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_watching_hands_on_all_items():
    machine = Machine(2)
    machine.busy = 1
    assert list(machine.new().watch(iter("abc"))) == ["a", "b", "c"]


# What is forecast.


def test_the_time_left_follows_the_recent_steps():
    pace = Pace()
    pace.step(5.0)
    assert pace.seconds(10, 0) == 50  # nothing better is known
    for _ in range(200):
        pace.step(0.1)
    assert pace.seconds(100, 0) == pytest.approx(10)  # the first step is not like the others
    for _ in range(20):
        pace.step(1.0)
    assert pace.seconds(100, 0) == pytest.approx(100, rel=0.1)  # another program has come
    pace.look(3.0)
    assert pace.seconds(100, 4) == pytest.approx(112, rel=0.1)


@pytest.mark.parametrize(("total", "every"), [(40, 10), (45, 10)])
def test_the_progress_line_counts_steps_and_looks_that_are_left(monkeypatch, capsys, total, every):
    clock = [0.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: clock[0])
    log = Log(None, total, 0, every, False, 0.0, None, {})

    def pass_by(seconds):
        clock[0] += seconds

    forecasts = {}
    with log:
        pass_by(4.0)
        log.before({})
        for step in range(1, total + 1):
            pass_by(0.5 if step > 1 else 3.0)
            log.step(step, Tally(1.0, 1, 1), 1.0, 0.1, 0.5)
            forecasts[step] = (clock[0], log._line({"loss": 1.0}, 1.0).rsplit(" · ", 1)[1])
            if step % every == 0 or step == total:
                pass_by(4.0)
                log.look({})
    for step in (2, 9, 11, 25, 39, total - 1):
        then, words = forecasts[step]
        left = int(clock[0] - then)
        assert words == f"{left // 60}:{left % 60:02d} left", step
    assert f"about 0:{int(clock[0] - forecasts[3][0])} for {total - 3} steps" in capsys.readouterr().out


# In a run.


@pytest.fixture
def busy_from_step_5(monkeypatch):
    """Runs find, without measuring, that one thread does more from the fifth step on."""

    class Found(Threads):
        def choose(self, step):
            pass

        def step(self, step, seconds):
            if step == 5 and not self.fixed:
                self.measure = lambda threads, seconds, most: 1.0 / threads
                self.waited = dict
                Threads.choose(self, step)

    monkeypatch.setattr(loop_module, "Threads", Found)


def numerics_of(folder):
    return json.loads((folder / "run.json").read_text())["numerics"]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("busy_from_step_5", "two_threads")
def test_a_run_that_changed_its_threads_says_so_and_goes_on_with_them(tmp_path, capsys):
    settings = tiny_settings(tmp_path, threads=None, checkpoint_seconds=0)
    pretrain(replace(settings, max_seconds=0))  # leaves after its first step
    pretrain(replace(settings, resume=True))
    said = capsys.readouterr().out
    assert said.count("another program is busy: 1 thread instead of 2") == 1
    expected = {"threads": 2, "pinned": False, "changed_threads": [[5, 1]]}
    assert numerics_of(tmp_path / "run").items() >= expected.items()
    state = read_state(find_checkpoints(tmp_path / "run" / "checkpoints")[0])
    assert state["numerics"].items() >= expected.items()
    assert "2 at first, 1 after step 5" in (tmp_path / "run" / "report.html").read_text()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("busy_from_step_5", "two_threads")
def test_a_pinned_run_never_changes_its_threads(tmp_path):
    pretrain(tiny_settings(tmp_path, threads=2))
    expected = {"threads": 2, "pinned": True, "changed_threads": []}
    assert numerics_of(tmp_path / "run").items() >= expected.items()
    assert "number of threads" not in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("two_threads")
def test_threads_given_anew_at_a_resume_are_taken_and_written_down(tmp_path, capsys):
    settings = tiny_settings(tmp_path, threads=2, checkpoint_seconds=0)
    pretrain(replace(settings, max_seconds=0))
    pretrain(replace(settings, threads=1, resume=True))
    assert "1 thread instead of 2 from here on" in capsys.readouterr().out
    expected = {"threads": 2, "pinned": True, "changed_threads": [[1, 1]]}
    assert numerics_of(tmp_path / "run").items() >= expected.items()


@pytest.mark.parametrize("number", [0, -1, 10**6])
def test_impossible_numbers_of_threads_are_refused(tmp_path, number):
    with pytest.raises(UserError, match=f"threads must be at .* got {number}"):
        pretrain(tiny_settings(tmp_path, threads=number))


def test_the_measurement_is_as_long_as_it_says():
    clock = [0.0]
    seconds = []

    def measured(threads, length, most):
        seconds.append(length)
        return 1.0

    Threads(64, measure=measured, set_threads=lambda _: None, clock=lambda: clock[0], waited=dict).choose(0)
    assert sum(seconds) == pytest.approx(threads_module.MEASURED_SECONDS)
