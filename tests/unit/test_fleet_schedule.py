"""Schedules: what Incus takes, how far apart the runs are, and what is told of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import UsageError
from fixtures.fleet.load import HINT, load_fleet
from fixtures.fleet.schedule import ALIASES, longest_gap

ATLAS = Path(__file__).parents[2] / "fleets" / "atlas.yaml"
HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("@hourly", HOUR),
        ("@daily", DAY),
        ("@midnight", DAY),
        ("@weekly", 7 * DAY),
        ("@monthly", 31 * DAY),
        ("@annually", 366 * DAY),
        ("0 2 * * *", DAY),
        ("*/15 * * * *", 900),
        ("0 6,18 * * *", 12 * HOUR),
        ("0 8-17 * * *", 15 * HOUR),
        ("0 2 * * mon-fri", 3 * DAY),
        ("0 0 * * 0,7", 7 * DAY),
        ("0 0 1 * 1", 7 * DAY),
        ("0 0 29 2 *", (4 * 365 + 1) * DAY),
        ("30 1 31 * *", 61 * DAY),
    ],
)
def test_the_longest_gap(schedule: str, seconds: int) -> None:
    assert longest_gap(schedule) == seconds


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (
            "@dayly",
            "'@dayly' is not a schedule; write @daily, @weekly or five cron fields, "
            "as in '0 2 * * *'; several with a comma and a blank between them",
        ),
        ("every day at two oclock", "'every' is no minute; cron has 0 to 59"),
        ("0 24 * * *", "'24' is no hour; cron has 0 to 23"),
        ("0 0 0 * *", "'0' is no day of month; cron has 1 to 31"),
        ("0 0 * 13 *", "'13' is no month; cron has 1 to 12"),
        ("0 0 * * fri-mon", "'fri-mon' is no day of week; cron has 0 to 7"),
        ("*/0 * * * *", "'*/0' is no minute; cron has 0 to 59"),
        ("0 0 30 2 *", "'0 0 30 2 *' never comes: no such day in any year"),
    ],
)
def test_what_is_no_schedule(tmp_path: Path, schedule: str, reason: str) -> None:
    path = tmp_path / "f.yaml"
    text = ATLAS.read_text()
    path.write_text(text.replace('"@daily"', f'"{schedule}"', 1))
    line = 1 + text[: text.index('"@daily"')].count("\n")
    with pytest.raises(UsageError) as caught:
        load_fleet(path)
    assert str(caught.value) == (
        f"{path}:{line}:9: services[0].backups.snapshot.schedule: {reason}\nHINT: {HINT}"
    )


@given(
    st.one_of(st.text(), st.from_regex(r"[0-9*/,a-f-]{1,4}( [0-9*/,-]{1,4}){4}", fullmatch=True))
)
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        seconds = longest_gap(text)
    except ValueError as error:
        assert (
            "is not a schedule" in str(error)
            or "; cron has" in str(error)
            or "never comes" in str(error)
        )
    else:
        assert 60 <= seconds <= 28 * 366 * DAY


@given(st.integers(0, 59), st.integers(0, 23))
def test_once_a_day_is_a_day_apart_at_any_time(minute: int, hour: int) -> None:
    assert longest_gap(f"{minute} {hour} * * *") == DAY


def test_the_rpo_of_atlas_is_its_schedules() -> None:
    fleet = load_fleet(ATLAS)
    rpo = {s.name: s.backups["snapshot"].rpo_seconds for s in fleet.services}
    daily = {"grafana", "alertmanager", "mosquitto"}
    assert rpo == {s.name: (1 if s.name in daily else 7) * DAY for s in fleet.services}
    assert fleet.service("step-ca").backups["encrypted-tarball"].rpo_seconds == 7 * DAY
    assert fleet.service("step-ca").backups["tarball"].rpo_seconds is None
    assert fleet.buckets[0].backups["native"].rpo_seconds == DAY
    assert len(ALIASES) == 7
