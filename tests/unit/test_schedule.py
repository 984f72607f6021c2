"""Schedules, retentions and settings of snapshots are read as Incus reads them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fixtures.audit.policy import fault_of_pattern, same_schedule
from fixtures.fleet.model import parse_limit
from fixtures.fleet.schedule import longest_gap, retention_seconds, shortest_gap

CASES = Path(__file__).parents[1] / "cases"
TABLE = yaml.safe_load((CASES / "snapshot_settings.yaml").read_text())
"""What Incus takes, measured; the lab's Incus is held to it, too."""
HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    "schedule, shortest, longest",
    [
        *((alias, DAY, DAY) for alias in ("@daily", "@midnight", "0 2 * * *", "@Daily, @weekly")),
        ("@hourly", HOUR, HOUR),
        ("@weekly", 7 * DAY, 7 * DAY),
        ("0 0 * * 0,7", 7 * DAY, 7 * DAY),
        ("@monthly", 28 * DAY, 31 * DAY),
        ("@annually", 365 * DAY, 366 * DAY),
        ("@yearly", 365 * DAY, 366 * DAY),
        ("*/15 * * * *", 900, 900),
        ("0 6,18 * * *", 12 * HOUR, 12 * HOUR),
        ("0 8-17 * * *", HOUR, 15 * HOUR),
        ("0 2 * * mon-fri", DAY, 3 * DAY),
        ("0 0 1 * 1", DAY, 7 * DAY),
        ("0 0 29 2 *", (4 * 365 + 1) * DAY, (4 * 365 + 1) * DAY),
        ("30 1 31 * *", 31 * DAY, 61 * DAY),
        ("0 6 * * *, 0 7 * * *", HOUR, 23 * HOUR),
        ("0 0,23 * * mon", 23 * HOUR, 7 * DAY - 23 * HOUR),
        (", ".join(["* * * * *"] * 500), 60, 60),
        ("0 0 * * mon, 0 12 * * thu", 3 * DAY + 12 * HOUR, 3 * DAY + 12 * HOUR),
    ],
)
def test_gaps_are_those_between_all_runs(schedule, shortest, longest):
    assert (shortest_gap(schedule), longest_gap(schedule)) == (shortest, longest)


@pytest.mark.parametrize("schedule", TABLE["schedule"]["taken"])
def test_a_schedule_that_incus_takes_is_read(schedule):
    assert 60 <= shortest_gap(schedule) <= longest_gap(schedule) <= 366 * DAY


def test_a_schedule_that_is_refused_is_refused_in_words():
    for schedule in [*TABLE["schedule"]["refused"], *TABLE["schedule"]["not_read_here"]]:
        with pytest.raises(ValueError, match="is not a schedule|; cron has|never comes"):
            longest_gap(schedule)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (
            "@dayly",
            "'@dayly' is not a schedule; write @daily, @weekly or five cron fields, "
            "as in '0 2 * * *'; several with a comma and a blank between them",
        ),
        ("every day at two oclock", "'every' is no minute; cron has 0 to 59"),
        ("0 0 * * fri-mon", "'fri-mon' is no day of week; cron has 0 to 7"),
        ("*/0 * * * *", "'*/0' is no minute; cron has 0 to 59"),
        ("0 0 30 2 *", "'0 0 30 2 *' never comes: no such day in any year"),
    ],
)
def test_what_is_no_schedule(schedule, reason):
    with pytest.raises(ValueError) as caught:
        longest_gap(schedule)
    assert str(caught.value) == reason


@given(
    st.one_of(st.text(), st.from_regex(r"[0-9*/,a-f-]{1,4}( [0-9*/,-]{1,4}){4}", fullmatch=True))
)
def test_any_text_is_a_schedule_or_a_value_error(text):
    try:
        assert 60 <= longest_gap(text) <= 28 * 366 * DAY
    except ValueError as error:
        words = ("is not a schedule", "; cron has", "never comes")
        assert any(word in str(error) for word in words)


def test_schedules_are_compared_by_when_they_come():
    assert same_schedule("@Daily , 0  2 * * SUN", "0 2 * * sun, @daily")
    for sunday in ("0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * SUN"):
        assert same_schedule(sunday, "@weekly")
    assert not same_schedule("0 0 * * 1", "@weekly")
    assert same_schedule("0 0 * * 4,1", "0 0 * * mon,thu")
    assert same_schedule("@daily, @weekly", "0 0 * * 0, 0 0 * * *")
    assert not same_schedule("@daily, @weekly", "@daily")


def test_an_expiry_is_read_as_incus_reads_it():
    taken = TABLE["expiry"]["taken"]
    assert {expiry: retention_seconds(expiry) for expiry in taken} == taken
    for expiry in TABLE["expiry"]["refused"]:
        with pytest.raises(ValueError, match="is no retention; write 7d, 2w or '1w 3d'"):
            retention_seconds(expiry)


def test_sizes_are_read_as_incus_reads_them():
    assert [parse_limit(text) for text in TABLE["size"]["no_limit"]] == [None] * 3
    assert (parse_limit(None), parse_limit("10GiB")) == (None, 10 << 30)
    for text in TABLE["size"]["refused"]:
        with pytest.raises(ValueError, match="is not"):
            parse_limit(text)


def test_patterns_are_read_as_incus_reads_them():
    said = {"makes_none": "makes no snapshot", "makes_one": "gives a name twice"}
    for pattern in TABLE["pattern"]["makes"]:
        assert fault_of_pattern(pattern, "* * * * *", "") == ""
    for kind, words in said.items():
        for pattern in TABLE["pattern"][kind]:
            assert words in fault_of_pattern(pattern, "* * * * *", "")


@pytest.mark.parametrize(
    "pattern, schedule, expiry, unique",
    [
        ("snap%d", "@hourly", "", True),
        ("auto-{{creation_date}}", "* * * * *", "", True),
        ("snap%d-%d", "@daily", "7d", False),
        ("{{ creation_date|date:'2006-01-02' }}", "0 6 * * *, 0 7 * * *", "7d", False),
        ("{{ creation_date|date:'2006-01-02' }}", "0 0,23 * * mon", "7d", False),
        ("{{ creation_date|date:'2006-01-02_15-04-05' }}", "* * * * *", "7d", True),
        ("{{ creation_date|date:'20060102150405' }}", "* * * * *", "", True),
        ("{{ creation_date|date:'2006-01-02' }}", "@daily", "7d", True),
        ("{{ creation_date|date:'2006-01-02' }}", "@hourly", "7d", False),
        ("{{ creation_date|date:'2006-01-02' }}", "0 1,13 * * *", "7d", False),
        ("{{ creation_date|date:'2006-01' }}", "@daily", "7d", False),
        ("{{ creation_date|date:'01-02' }}", "@daily", "7d", True),
        ("{{ creation_date|date:'01-02' }}", "@daily", "", False),
        ("{{ creation_date|date:'15-04' }}", "@hourly", "7d", False),
        ("{{ creation_date|date:'15-04' }}", "@hourly", "12H", True),
        ("{{ creation_date|date:'' }}", "@daily", "7d", False),
        ("nightly", "@daily", "7d", False),
    ],
)
def test_a_pattern_has_to_give_new_names(pattern, schedule, expiry, unique):
    for written in (pattern, pattern.replace("'", '"')):
        assert (fault_of_pattern(written, schedule, expiry) == "") is unique
