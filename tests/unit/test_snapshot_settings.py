"""Settings of snapshots are read as Incus reads them: the table that the lab's Incus is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.audit.policy import fault_of_pattern, same_schedule
from fixtures.errors import UsageError
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import parse_limit
from fixtures.fleet.schedule import longest_gap, retention_seconds, shortest_gap

CASES = Path(__file__).parents[1] / "cases"
TABLE: dict[str, Any] = yaml.safe_load((CASES / "snapshot_settings.yaml").read_text())
ATLAS = Path(__file__).parents[2] / "fleets" / "atlas.yaml"
HOUR, DAY = 3600, 86400


@pytest.mark.parametrize("schedule", TABLE["schedule"]["taken"])
def test_a_schedule_that_incus_takes_is_read(schedule: str) -> None:
    assert 60 <= shortest_gap(schedule) <= longest_gap(schedule) <= 366 * DAY


@pytest.mark.parametrize(
    "schedule", [*TABLE["schedule"]["refused"], *TABLE["schedule"]["not_read_here"]]
)
def test_a_schedule_that_is_refused_is_refused_in_words(schedule: str) -> None:
    with pytest.raises(ValueError, match="is not a schedule|; cron has|never comes"):
        longest_gap(schedule)


@pytest.mark.parametrize(
    "schedule, shortest, longest",
    [
        ("0 6 * * *, 0 7 * * *", HOUR, 23 * HOUR),
        ("0 0,23 * * mon", 23 * HOUR, 7 * DAY - 23 * HOUR),
        ("@Daily, @weekly", DAY, DAY),
        ("0 0 * * mon, 0 12 * * thu", 3 * DAY + 12 * HOUR, 3 * DAY + 12 * HOUR),
        ("@yearly", 365 * DAY, 366 * DAY),
    ],
)
def test_the_gaps_of_several_schedules_are_those_of_all_their_runs(
    schedule: str, shortest: int, longest: int
) -> None:
    assert (shortest_gap(schedule), longest_gap(schedule)) == (shortest, longest)


def test_case_and_blanks_are_no_difference() -> None:
    assert same_schedule("@Daily , 0  2 * * SUN", "0 2 * * sun, @daily")


@pytest.mark.parametrize("expiry, seconds", TABLE["expiry"]["taken"].items())
def test_an_expiry_that_incus_takes_is_read(expiry: str, seconds: int) -> None:
    assert retention_seconds(expiry) == seconds


@pytest.mark.parametrize("expiry", TABLE["expiry"]["refused"])
def test_an_expiry_that_incus_refuses_is_refused_in_words(expiry: str) -> None:
    with pytest.raises(ValueError, match="is no retention; write 7d, 2w or '1w 3d'"):
        retention_seconds(expiry)


@pytest.mark.parametrize("pattern", TABLE["pattern"]["makes"])
def test_a_pattern_that_makes_snapshots_is_no_finding(pattern: str) -> None:
    assert fault_of_pattern(pattern, "* * * * *", "") == ""


@pytest.mark.parametrize("kind", ["makes_none", "makes_one"])
def test_a_pattern_that_makes_none_is_a_finding(kind: str) -> None:
    told = {"makes_none": "makes no snapshot", "makes_one": "gives a name twice"}[kind]
    for pattern in TABLE["pattern"][kind]:
        assert told in fault_of_pattern(pattern, "* * * * *", "")


def test_sizes_are_read_as_incus_reads_them() -> None:
    assert [parse_limit(text) for text in TABLE["size"]["no_limit"]] == [None] * 3
    assert (parse_limit(None), parse_limit("10GiB")) == (None, 10 << 30)
    for text in TABLE["size"]["refused"]:
        with pytest.raises(ValueError, match="is not"):
            parse_limit(text)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = ATLAS.read_text()
    assert old in text
    path = tmp_path / "fleet.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    "old, new, told",
    [
        (
            "retention: 7d",
            "retention: 6M",
            "'6M' is over before the next of '@daily' is made; M is",
        ),
        ("retention: 2w", "retention: 6d", "'6d' is over before the next of '@weekly' is made"),
        ("retention: 2w", "retention: 0d", "'0d' keeps nothing"),
        ("retention: 2w", "retention: 2 weeks", "is no retention; write"),
        ("uid: 472", "uid: 0472", "YAML reads 0472 as 314; write that number"),
        ("uid: 472", "uid: 0x1d8", "YAML reads 0x1d8 as 472"),
        ("uid: 472", "uid: 4_72", "YAML reads 4_72 as 472"),
        ("port: 3000", "port: 50:00", "YAML reads 50:00 as 3000"),
        ("seconds: 900", "seconds: .inf", "YAML reads .inf as inf"),
    ],
)
def test_a_field_that_means_something_else_is_refused(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    text = ATLAS.read_text()
    if old not in text:
        old, new = "pool: local", f"pool: local\ntargets: {{snapshot: {{title: x, {new}}}}}"
    with pytest.raises(UsageError) as caught:
        load_fleet(changed(tmp_path, old, new))
    assert told in caught.value.message
    assert f"{tmp_path}/fleet.yaml:" in caught.value.message


@pytest.mark.parametrize("new", ["retention: 1w 3d", "retention: '07d'"])
def test_a_retention_as_incus_writes_it_is_taken(tmp_path: Path, new: str) -> None:
    load_fleet(changed(tmp_path, "retention: 7d", new))


@pytest.mark.parametrize("new", ['"@Daily"', '"0  2 * * *"', '"@daily, 0 12 * * *"'])
def test_a_schedule_as_incus_takes_it_is_taken(tmp_path: Path, new: str) -> None:
    load_fleet(changed(tmp_path, '"@daily"', new))


@pytest.mark.parametrize("port", ["99999", "0", "65536"])
def test_an_address_has_a_port(tmp_path: Path, port: str) -> None:
    path = changed(tmp_path, "    unit:", f'    live: "10.0.0.1:{port}"\n    unit:')
    with pytest.raises(UsageError, match=r"has no port between 1 and 65535"):
        load_fleet(path)
    load_fleet(changed(tmp_path, "    unit:", '    live: "10.0.0.1:9999"\n    unit:'))
