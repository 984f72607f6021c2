"""What a drill says of the declared size: only the part that moves bytes grows."""

from types import SimpleNamespace

import pytest

from fixtures.clock import PHASES
from fixtures.recovery.drill import PROJECTABLE_BYTES, Drill
from fixtures.recovery.service import read_pool_driver

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
