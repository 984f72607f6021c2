"""An export of another volume of the same name is known by when its volume was created."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fixtures.backups.tarball import created_at
from fixtures.errors import BackupDamaged
from fixtures.recovery.existing import must_be_of_this_volume

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))


def backup(created, taken):
    seen = SimpleNamespace(created_at=created, volume="x-data")
    return SimpleNamespace(name="x.tar", inspection=seen, taken_at=taken)


def proof(created, taken):
    return SimpleNamespace(run="r1", volume_created_at=created, backup_taken_at=taken)


@pytest.mark.parametrize(
    ("made", "source", "last"),
    [
        (backup(MAY, JULY), MAY, None),
        (backup(MAY, JULY), MAY + timedelta(microseconds=300), None),
        (backup(MAY, JUNE), JULY, None),  # the source's was made again since
        (backup(None, JUNE), MAY, None),
        (backup(MAY, JULY), None, None),
        (backup(MAY, AUGUST), None, proof(MAY, JULY)),
        (backup(JULY, AUGUST), None, proof(MAY, JUNE)),  # made again between the two
        (backup(MAY, JUNE), None, proof(JULY, AUGUST)),  # an older one is drilled
        (backup(MAY, JULY), MAY, proof(JUNE, AUGUST)),  # the source itself says more
    ],
)
def test_backups_of_one_volume_and_of_one_that_was_made_again(made, source, last):
    must_be_of_this_volume(made, source, last)


@pytest.mark.parametrize(
    ("source", "last"),
    [(MAY, None), (None, proof(MAY, AUGUST)), (None, proof(MAY, JULY + timedelta(days=1)))],
)
def test_a_volume_that_was_there_beside_it_is_another_one(source, last):
    with pytest.raises(BackupDamaged, match="is a backup of another volume x-data"):
        must_be_of_this_volume(backup(JUNE, AUGUST), source, last)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("2026-05-01T00:00:00.370323208Z", MAY + timedelta(microseconds=370323)),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_the_index_says_when_its_volume_was_created(said, found):
    index = f"config: {{volume: {{created_at: {said}}}}}".encode()
    assert created_at(index) == found
    assert created_at(b"config: {}") is None
