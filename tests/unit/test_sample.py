"""Backups that are drawn at random in the place of the newest."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.plugin.options import DEFAULT_FLEET, UsageError, _number, parse_moment
from fixtures.recovery.existing import Backups, Draw
from tests.unit.test_find import export

FLEET = load_fleet(DEFAULT_FLEET)
SERVICE = FLEET.service("loki")
NOW = datetime.now(UTC).replace(microsecond=0)


def put(path, volume, at):
    """Write a tarball of a volume, dated by its index."""
    path.write_bytes(export(volume, at=at.timestamp()))


@pytest.fixture
def backups(tmp_path):
    """Twelve tarballs, one for each ten days, of which some are within the retention."""
    for age in range(0, 120, 10):
        at = NOW - timedelta(days=age, hours=1)
        put(tmp_path / f"{age}.tar", SERVICE.volumes[0].name, at)
    incus, services = SimpleNamespace(project="none"), tuple(FLEET.services)
    return Backups(places=(tmp_path,), services=services, incus=incus, pool=FLEET.pool)


def kept(days):
    regime = SERVICE.backups["tarball"].model_copy(update={"retention": days and f"{days}d"})
    return SERVICE.model_copy(update={"backups": {"tarball": regime}})


def drawn(backups, service, seed, numbers):
    found = [backups.drawn(service, "tarball", Draw(n, seed)) for n in numbers]
    return [here and here.newest_file(service, "tarball").path.name for here in found]


def test_each_number_is_another_one_and_the_seed_draws_the_same(backups):
    for seed in range(20):
        first = drawn(backups, kept(None), seed, range(1, 5))
        assert len(set(first)) == 4
        assert first == drawn(backups, kept(None), seed, range(1, 5))
        assert first[:2] == drawn(backups, kept(None), seed, range(1, 3))
    assert len({drawn(backups, kept(None), seed, [1])[0] for seed in range(200)}) == 12


def test_only_what_is_within_its_retention_is_drawn(backups):
    found = {name for seed in range(40) for name in drawn(backups, kept(35), seed, [1, 2])}
    assert found == {"0.tar", "10.tar", "20.tar", "30.tar"}
    assert drawn(backups, kept(35), 1, [4, 5])[1] is None


def test_a_damaged_one_is_drawn_and_one_of_the_future_is_not(backups, tmp_path):
    volume = SERVICE.volumes[0].name
    damaged = tmp_path / f"{volume}.tar"
    damaged.write_bytes(b"no archive")
    at = (NOW - timedelta(days=2)).timestamp()
    os.utime(damaged, (at, at))
    put(tmp_path / "future.tar", volume, NOW + timedelta(days=3))
    found = {
        here.files_of(kept(35), "tarball")[-1].path.name
        for seed in range(60)
        if (here := backups.drawn(kept(35), "tarball", Draw(1, seed)))
    }
    assert found == {"0.tar", "10.tar", "20.tar", "30.tar", damaged.name}


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "\u0663", "1001", "9" * 5000])
def test_a_number_that_is_none_is_refused(given):
    with pytest.raises(UsageError, match="nothing was contacted"):
        _number("--sample", given, 0, 1000)


@pytest.mark.parametrize("given", ["", "x", "9999-12-31", "0001-01-01", "2026-11-24T02:00+25:00"])
def test_a_moment_that_is_not_of_the_past_is_refused(given):
    with pytest.raises(UsageError, match=r"is no day or time of the past \(UTC\); nothing was"):
        parse_moment(given, NOW)


def test_a_day_is_a_moment_at_its_end_in_either_form():
    later = datetime(2026, 11, 29, tzinfo=UTC)
    for given in ("2026-11-24", "20261124", "2026-W48-2"):
        at = parse_moment(given, later)
        assert at.isoformat() == "2026-11-24T23:59:59.999999+00:00"
    assert parse_moment("2026-11-24T02", later) == datetime(2026, 11, 24, 2, tzinfo=UTC)


def test_a_seed_alone_is_refused():
    with pytest.raises(UsageError, match="--sample= is no number"):
        _number("--sample", None, 0, 1000, needed=True)
