"""Stopwatch, waiting and projection on an injected clock: exact seconds, and no time spent."""

from types import SimpleNamespace

import pytest

from fixtures.clock import PHASES, NotYet, Stopwatch, wait_until
from fixtures.errors import RecoveryFailed, WrongData
from fixtures.recovery.drill import PROJECTABLE_BYTES, Drill
from fixtures.recovery.service import read_pool_driver


class Time:
    """A clock that stands still until it is told to move, or somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


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


def wait(look, time, **options):
    options = {"label": "service x healthy", "timeout": 180, "poll": 0.5, **options}
    return wait_until(look, sleep=time.sleep, clock=time, **options)


def test_it_returns_what_it_saw(time):
    answers = iter([NotYet("refused"), NotYet("refused"), "ready"])

    def look():
        answer = next(answers)
        if isinstance(answer, NotYet):
            raise answer
        return answer

    assert wait(look, time) == "ready"
    assert time.now == 1.0


def test_it_never_gives_up_in_silence(time):
    def look():
        raise NotYet("connection refused")

    with pytest.raises(RecoveryFailed) as told:
        wait(look, time)
    assert told.value.message == (
        "service x healthy: not within 180 s (361 attempts in 180.0 s), "
        "last answer: connection refused"
    )


def test_any_other_error_is_fatal_at_once(time):
    def look():
        raise WrongData("another CA")

    with pytest.raises(WrongData):
        wait(look, time)
    assert time.now == 0


MIB = 2**20


def drilled(restored, *, declared=1000 * MIB, scenario="tarball", **about):
    """Phases of 1, 4, 2, 3 and 5 s."""
    drill = Drill("x", scenario, 900, "drill-x", "low", declared_bytes=declared, **about)
    now = [0.0]
    drill.watch.now = lambda: now[0]
    for name, seconds in zip(PHASES, (1, 4, 2, 3, 5), strict=True):
        with drill.phase(name):
            now[0] += seconds
    drill.restored_bytes = restored
    return drill


def test_only_what_moves_bytes_grows():
    restore = drilled(100 * MIB).record().restore
    assert restore.moving == 4.0
    assert restore.projected_rto == pytest.approx(15 - 4 + 4 * 10)
    drill = drilled(100 * MIB)
    drill.import_seconds = 3.0
    restore = drill.record().restore
    assert (restore.seconds, restore.moving) == (4.0, 3.0), "an instance was made after it"
    assert restore.projected_rto == pytest.approx(15 - 3 + 3 * 10)


def test_what_was_restored_already_whole_is_not_projected_down():
    restore = drilled(2000 * MIB).record().restore
    assert restore.projected_rto == pytest.approx(15)


def test_little_data_and_existing_backups_have_no_projection():
    assert drilled(PROJECTABLE_BYTES - 1).record().restore.projected_rto is None
    existing = drilled(100 * MIB, origin="existing")
    assert existing.record().restore.projected_rto is None


@pytest.mark.parametrize(
    ("scenario", "driver", "is_copied"),
    [
        ("snapshot", "btrfs", False),
        ("snapshot", "zfs", False),
        ("snapshot", "dir", True),
        ("snapshot", "ceph", True),
        ("snapshot", "lvm", True),
        ("tarball", "btrfs", True),
    ],
)
def test_a_snapshot_comes_back_without_a_copy_on_some_pools_alone(scenario, driver, is_copied):
    drill = drilled(100 * MIB, scenario=scenario)
    read_pool_driver(SimpleNamespace(drill=drill, volume=SimpleNamespace(driver=lambda: driver)))
    restore = drill.record().restore
    assert restore.projected_rto == pytest.approx(15 - 4 + 4 * 10 if is_copied else 15)
    assert restore.throughput == (25 * MIB if is_copied else None)


def test_little_data_of_a_snapshot_that_is_copied_has_no_projection():
    little = drilled(5 * MIB, scenario="snapshot")
    assert little.record().restore.projected_rto is None
