"""Stopwatch, waiting and projection on an injected clock: exact seconds, and no time spent."""

import math
from types import SimpleNamespace

import pytest

from fixtures.clock import PHASES, NotYet, Stopwatch, wait_until
from fixtures.errors import RecoveryFailed, WrongData
from fixtures.recovery.drill import PROJECTABLE_BYTES, Drill
from fixtures.recovery.service import read_pool_driver


class Time:
    """A clock that stands still until it is told to move, or somebody sleeps."""

    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def time():
    return Time()


def test_phases_follow_each_other_and_are_counted_from_the_loss(time):
    seen = []
    watch = Stopwatch(now=time, on_change=lambda *event: seen.append(event))
    assert watch.elapsed is None, "nothing has elapsed before the loss"
    for seconds, name in enumerate(PHASES, 1):
        with watch.phase(name):
            time.now += seconds
        time.now += 0.5
    assert [phase.seconds for phase in watch.phases] == [1, 2, 3, 4, 5]
    assert [phase.begin for phase in watch.phases] == [0, 1.5, 4, 7.5, 12]
    assert watch.elapsed == 17
    assert seen[:3] == [("destroy", "begin", 0.0), ("destroy", "end", 1.0), ("restore", "begin", 0)]


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


def wait(time, *answers):
    """Wait for the first answer that is no exception; the last one is given for ever."""
    left = list(answers)

    def look():
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    about = {"label": "service x healthy", "timeout": 180, "poll": 0.5}
    return wait_until(look, sleep=time.sleep, clock=time, **about)


def test_a_wait_ends_with_what_it_saw_its_reason_or_its_time_out(time):
    assert wait(time, NotYet("refused"), NotYet("refused"), "ready") == "ready"
    assert time.now == 1.0
    with pytest.raises(WrongData):
        wait(time, WrongData("another CA"))
    assert time.now == 1.0
    with pytest.raises(RecoveryFailed) as given_up:
        wait(time, NotYet("connection refused"))
    assert given_up.value.message == (
        "service x healthy: not within 180 s (361 attempts in 180.0 s), "
        "last answer: connection refused"
    )


def test_the_limit_of_a_wait_holds_for_the_parts_of_a_drill_and_for_the_block():
    drill, part = (Drill("x", "tarball", 900, "drill-x", "low") for _ in range(2))
    drill.parts.append(part)
    with drill.patient_for(30), drill.patient_for(math.inf):
        assert (drill.patience, part.patience) == (30, 30)
    assert (drill.patience, part.patience) == (math.inf, math.inf)


MIB = 2**20


def drilled(restored, *, scenario="tarball", driver=None, import_seconds=None, **about):
    """What a drill with phases of 1, 4, 2, 3 and 5 s and 1000 MiB declared says of its restore."""
    drill = Drill("x", scenario, 900, "drill-x", "low", declared_bytes=1000 * MIB, **about)
    if driver:
        volume = SimpleNamespace(driver=lambda: driver)
        read_pool_driver(SimpleNamespace(drill=drill, volume=volume))
    now = drill.watch.now = Time()
    for name, seconds in zip(PHASES, (1, 4, 2, 3, 5), strict=True):
        with drill.phase(name):
            now.sleep(seconds)
    drill.restored_bytes, drill.import_seconds = restored, import_seconds
    return drill.record().restore


def test_only_what_moves_bytes_grows():
    restore = drilled(100 * MIB)
    assert (restore.moving, restore.projected_rto) == (4.0, pytest.approx(15 - 4 + 4 * 10))
    restore = drilled(100 * MIB, import_seconds=3.0)
    assert (restore.seconds, restore.moving) == (4.0, 3.0), "an instance was made after it"
    assert restore.projected_rto == pytest.approx(15 - 3 + 3 * 10)


def test_there_is_no_projection_down_nor_from_little_nor_of_an_existing_backup():
    assert drilled(2000 * MIB).projected_rto == pytest.approx(15)
    assert drilled(PROJECTABLE_BYTES - 1).projected_rto is None
    assert drilled(5 * MIB, scenario="snapshot").projected_rto is None
    assert drilled(100 * MIB, origin="existing").projected_rto is None


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
    restore = drilled(100 * MIB, scenario=scenario, driver=driver)
    assert restore.projected_rto == pytest.approx(15 - 4 + 4 * 10 if is_copied else 15)
    assert restore.throughput == (25 * MIB if is_copied else None)
