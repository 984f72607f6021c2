"""What a drill says of the declared size: only the part that moves bytes grows."""

from __future__ import annotations

import pytest

from fixtures.clock import PHASES
from fixtures.recovery.drill import PROJECTABLE_BYTES, Drill

MIB = 2**20


def drilled(restored: int, *, latency: float | None, declared: int = 1000 * MIB, **about) -> Drill:
    """Phases of 1, 4, 2, 3 and 5 s."""
    drill = Drill("x", "tarball", 900, "drill-x", "low", declared_bytes=declared, **about)
    now = [0.0]
    drill.watch.now = lambda: now[0]
    for name, seconds in zip(PHASES, (1, 4, 2, 3, 5), strict=True):
        with drill.phase(name):
            now[0] += seconds
    drill.restored_bytes, drill.restore_latency = restored, latency
    return drill


def test_what_an_import_takes_without_bytes_does_not_grow():
    restore = drilled(100 * MIB, latency=0.5).record().restore
    assert restore is not None
    assert restore.latency == 0.5
    assert restore.projected_rto == pytest.approx(15 - 3.5 + 3.5 * 10)


def test_without_a_measured_latency_the_whole_restore_grows():
    restore = drilled(100 * MIB, latency=None).record().restore
    assert restore.projected_rto == pytest.approx(15 - 4 + 4 * 10)


def test_more_latency_than_restore_is_no_gain():
    restore = drilled(100 * MIB, latency=9.0).record().restore
    assert restore.projected_rto == pytest.approx(15)


def test_what_was_restored_already_whole_is_not_projected_down():
    restore = drilled(2000 * MIB, latency=0.5).record().restore
    assert restore.projected_rto == pytest.approx(15)


def test_little_data_and_existing_backups_have_no_projection():
    assert drilled(PROJECTABLE_BYTES - 1, latency=None).record().restore.projected_rto is None
    existing = drilled(100 * MIB, latency=0.5, origin="existing")
    assert existing.record().restore.projected_rto is None
