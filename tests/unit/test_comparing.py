"""What an existing backup proves: not more than it held, and not of a time that is not known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.clock import CLOCK_SKEW
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.record import Verdict
from fixtures.recovery.checks import Checks, check_known, newest_survivor
from fixtures.recovery.drill import Drill
from fixtures.services.base import Item, Known, Ledger, each, total

NOW = datetime.now(UTC)
HELD = tuple(each("silences", {"a": "1"}))
LINES = Item("series", "in the hour before noon", "7", 7)


class Restored:
    """A restored service, as far as it is asked."""

    counted_by_hour = ()

    def __init__(self, found, newest=None):
        self.found, self.last = found, newest

    def list_items(self, at):
        return self.found

    def newest(self, at):
        return self.last


@pytest.fixture
def checks():
    return Checks(Drill("x", "tarball", 900, "drill-x", "low", origin="existing"))


@pytest.mark.parametrize(
    ("held", "is_proof"),
    [
        (HELD, True),
        (HELD[:1], True),
        ((total("metrics", ["up"]), LINES), True),
        ((*HELD, *each("dashboards", {})), True),
        (tuple(each("silences", {})), False),
        ((Item("series", "all", "none", 0),), False),
        ((), False),
    ],
)
def test_an_empty_service_that_is_empty_again_is_no_proof(checks, held, is_proof):
    for more in ({}, {"newest": NOW}, {"is_bracketed": True}):
        asked = Checks(checks.drill)
        check_known(asked, Restored(held), Known("the note", NOW, held, **more), "holdings")
        assert (asked.unlooked == []) is is_proof
        assert asked.broken == []


@pytest.mark.parametrize("ahead", [timedelta(), CLOCK_SKEW, CLOCK_SKEW + timedelta(seconds=1)])
@pytest.mark.parametrize("way", ["note", "file", "data", "newest of the note"])
def test_the_age_of_data_that_is_dated_after_the_loss_is_not_known(checks, way, ahead):
    moment = NOW + ahead
    known = Known("the note", moment, HELD)
    subject = Restored(HELD, moment if "data" in way or "newest" in way else None)
    if way == "file":
        found = newest_survivor(checks, subject, None, moment, NOW)
    elif way == "newest of the note":
        found = newest_survivor(checks, subject, replace(known, newest=moment), NOW, NOW)
    else:
        found = newest_survivor(checks, subject, known, NOW, NOW)
    assert found == (None if ahead > CLOCK_SKEW else moment)
    assert [one.partition(":")[0] for one in checks.unlooked] == (
        ["age of the data"] if ahead > CLOCK_SKEW else []
    )


def test_a_drill_tells_no_age_of_data_from_the_future():
    drill = Drill("x", "tarball", 900, "drill-x", "low", target_rpo=86400)
    with drill.phase("destroy"):
        drill.ledger = Ledger(newest_survivor=datetime.now(UTC) + timedelta(days=3))
    assert drill.record().rpo is None
    drill.ledger = Ledger(newest_survivor=datetime.now(UTC) + timedelta(seconds=9))
    assert drill.record().rpo == 0.0
    assert judge_drill(drill.record()) is not Verdict.RECOVERED
