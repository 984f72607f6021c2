"""The stopwatch on an injected clock: exact seconds, also of a failed phase."""

import pytest

from fixtures.clock import PHASES, Stopwatch


class Time:
    """A clock that stands still until it is told to move."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def test_phases_follow_each_other_and_are_counted_from_the_loss(time):
    watch = Stopwatch(now=time)
    for seconds, name in enumerate(PHASES, 1):
        with watch.phase(name):
            time.now += seconds
        time.now += 0.5
    assert [phase.seconds for phase in watch.phases] == [1, 2, 3, 4, 5]
    assert [phase.begin for phase in watch.phases] == [0, 1.5, 4, 7.5, 12]
    assert watch.elapsed == 17


def test_a_failed_phase_has_a_duration(time):
    watch = Stopwatch(now=time)
    with pytest.raises(RuntimeError, match="boom"), watch.phase("destroy"):
        time.now += 2.5
        raise RuntimeError("boom")
    assert str(watch.phases[0]) == "destroy 2.50 s (failed)"
    assert watch.elapsed == 2.5


@pytest.mark.parametrize("names", [["restore", "destroy"], ["start", "start"], ["verify"]])
def test_a_phase_out_of_order_is_refused(time, names):
    watch = Stopwatch(now=time)
    with pytest.raises(ValueError, match="phase"):
        for name in names:
            with watch.phase(name):
                time.now += 1


def test_nothing_has_elapsed_before_the_loss(time):
    assert Stopwatch(now=time).elapsed is None


def test_progress_is_told(time):
    told = []
    watch = Stopwatch(now=time, on_change=lambda *event: told.append(event))
    with watch.phase("destroy"):
        time.now += 1
    assert told == [("destroy", "begin", 0.0), ("destroy", "end", 1.0)]
