"""Looks that are made side by side end in one verdict, in one order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fixtures.errors import CouldNotLook, WrongData
from fixtures.recovery import checks as looks
from fixtures.recovery.checks import Checks, host_meanwhile
from fixtures.recovery.drill import Drill


@pytest.fixture
def made():
    return Checks(Drill("x", "tarball", 900, "drill-x", "low"))


def host_that(monkeypatch, act):
    monkeypatch.setattr(looks, "look_at_host", lambda checks, *_: act(checks))


def test_checks_made_beside_come_after_those_of_the_block(made, monkeypatch):
    host_that(monkeypatch, lambda aside: aside.record("port", True, "9090"))
    with host_meanwhile(made, SimpleNamespace(), SimpleNamespace()):
        made.record("canaries", True, "2 back")
    assert [check.name for check in made.drill.checks] == ["canaries", "port"]
    made.must_all_hold("x")


def test_what_is_broken_beside_is_wrong_data(made, monkeypatch):
    host_that(monkeypatch, lambda aside: aside.record("owner", False, "root"))
    with host_meanwhile(made, SimpleNamespace(), SimpleNamespace()):
        made.record("canaries", True, "2 back")
    with pytest.raises(WrongData, match="owner: root"):
        made.must_all_hold("x")
    assert made.drill.checks[-1].outcome == "broken"


def test_what_is_not_looked_at_beside_is_no_pass(made, monkeypatch):
    host_that(monkeypatch, lambda aside: aside.not_looked("host", "no shell"))
    with host_meanwhile(made, SimpleNamespace(), SimpleNamespace()):
        made.record("canaries", True, "2 back")
    with pytest.raises(CouldNotLook, match="host: no shell"):
        made.must_all_hold("x")


def test_what_fails_beside_is_not_lost(made, monkeypatch):
    def fail(_aside):
        raise ZeroDivisionError("a defect")

    host_that(monkeypatch, fail)
    with (
        pytest.raises(ZeroDivisionError, match="a defect"),
        host_meanwhile(made, SimpleNamespace(), SimpleNamespace()),
    ):
        made.record("canaries", True, "2 back")


def test_what_was_seen_beside_stands_in_the_evidence_where_the_block_raises(made, monkeypatch):
    host_that(monkeypatch, lambda aside: aside.record("port", False, "9090"))
    with (
        pytest.raises(CouldNotLook, match="no canaries"),
        host_meanwhile(made, SimpleNamespace(), SimpleNamespace()),
    ):
        raise CouldNotLook("no canaries")
    assert [check.name for check in made.drill.checks] == ["port"]
    assert made.broken == ["port: 9090"]
