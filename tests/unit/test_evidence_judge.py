"""Each rule of the judge over sane and pathological evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fixtures.evidence.judge import is_only_stand_in, judge_drill, judge_run, stand_ins_of
from fixtures.evidence.record import (
    CanaryRecord,
    CheckRecord,
    CleanupRecord,
    DrillRecord,
    MemberRecord,
    PhaseRecord,
    RunRecord,
    SourceRecord,
)
from fixtures.evidence.verdict import Verdict
from fixtures.evidence.wording import run_sentence

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIVE = ("destroy", "restore", "start", "healthy", "verified")
PHASES = [PhaseRecord(name=name, begin=float(at), seconds=1.0) for at, name in enumerate(FIVE)]
HELD = CheckRecord(name="answers", outcome="held", detail="200")
BROKEN = CheckRecord(name="silence", outcome="broken", detail="404")
UNSEEN = CheckRecord(name="silence", outcome="not looked", detail="timed out")
LEDGER = CanaryRecord(written=["a", "b"], recovered=["a"], gone=["b"])
PASSING: dict[str, Any] = {
    "id": "step-ca-snapshot-rehearsal",
    "service": "step-ca",
    "scenario": "snapshot",
    "origin": "rehearsal",
    "verdict": Verdict.RECOVERED,
    "begun": BEGUN,
    "criticality": "critical",
    "target_rto": 900.0,
    "rto": 5.0,
    "rto_resolution": 0.02,
    "phases": PHASES,
    "checks": [HELD],
    "canaries": LEDGER,
}
RUN: dict[str, Any] = {
    "run": "r1",
    "suite_version": "0",
    "begun": BEGUN,
    "finished": BEGUN,
    "operator": "root",
    "host": "host",
    "command": "pytest drills/",
    "fleet": "fleets/atlas.yaml",
    "fleet_sha256": "00",
    "services": ["step-ca"],
    "scenarios": ["snapshot"],
    "not_verified": [
        {
            "service": "step-ca",
            "scenario": "snapshot",
            "origin": "existing",
            "reason": "not selected in this run",
        }
    ],
}


def drill(**changed: Any) -> DrillRecord:
    """A drill that passes, but for what is changed."""
    return DrillRecord(**{**PASSING, **changed})


def run(**changed: Any) -> RunRecord:
    """A run of one passing drill, but for what is changed."""
    return RunRecord(**{**RUN, "drills": [drill()], **changed})


def test_a_whole_drill_within_target_recovered() -> None:
    assert judge_drill(drill()) is Verdict.RECOVERED


def test_exactly_the_target_is_within_it() -> None:
    assert judge_drill(drill(rto=900.0)) is Verdict.RECOVERED


CASES: list[tuple[str, dict[str, Any], Verdict]] = [
    ("over target", {"rto": 900.01}, Verdict.RECOVERED_LATE),
    (
        "a canary is lost",
        {"canaries": CanaryRecord(written=["a"], lost=["a"])},
        Verdict.WRONG_DATA,
    ),
    (
        "a canary is changed",
        {"canaries": CanaryRecord(written=["a"], changed=["a"])},
        Verdict.WRONG_DATA,
    ),
    (
        "a later canary is there",
        {"canaries": CanaryRecord(written=["a", "b"], recovered=["a"], unexpected=["b"])},
        Verdict.WRONG_DATA,
    ),
    ("a check is broken", {"checks": [HELD, BROKEN]}, Verdict.WRONG_DATA),
    (
        "a broken check of a failed recovery",
        {"checks": [BROKEN], "verdict": Verdict.NOT_RECOVERED},
        Verdict.NOT_RECOVERED,
    ),
    ("not recovered as recorded", {"verdict": Verdict.NOT_RECOVERED}, Verdict.NOT_RECOVERED),
    ("wrong data as recorded", {"verdict": Verdict.WRONG_DATA}, Verdict.WRONG_DATA),
    ("not verified as recorded", {"verdict": Verdict.NOT_VERIFIED}, Verdict.NOT_VERIFIED),
    ("a stand-in", {"stand_in": True}, Verdict.NOT_VERIFIED),
    ("a check not looked at", {"checks": [HELD, UNSEEN]}, Verdict.NOT_VERIFIED),
    ("no check", {"checks": []}, Verdict.NOT_VERIFIED),
    ("no ledger", {"canaries": None}, Verdict.NOT_VERIFIED),
    ("an empty ledger", {"canaries": CanaryRecord()}, Verdict.NOT_VERIFIED),
    (
        "only later canaries",
        {"canaries": CanaryRecord(written=["b"], gone=["b"])},
        Verdict.NOT_VERIFIED,
    ),
    ("no RTO", {"rto": None}, Verdict.NOT_VERIFIED),
    ("a phase is missing", {"phases": PHASES[:4]}, Verdict.NOT_VERIFIED),
    (
        "a phase failed",
        {"phases": [*PHASES[:4], PhaseRecord(name="verified", begin=4, seconds=1, failed=True)]},
        Verdict.NOT_VERIFIED,
    ),
]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_drill_is_judged_by_its_facts(changed: dict[str, Any], expected: Verdict) -> None:
    assert judge_drill(drill(**changed)) is expected


def test_the_recorded_verdict_never_makes_a_pass() -> None:
    """`recovered late` beside an RTO within target is judged by the RTO."""
    assert judge_drill(drill(verdict=Verdict.RECOVERED_LATE)) is Verdict.RECOVERED
    assert judge_drill(drill(rto=901.0, verdict=Verdict.RECOVERED)) is Verdict.RECOVERED_LATE


def test_a_whole_run_recovered() -> None:
    assert judge_run(run()) is Verdict.RECOVERED


@pytest.mark.parametrize(
    "changed",
    [
        {"drills": []},
        {"errors": ["the disk was full"]},
        {"interrupted": True},
        {"finished": None},
        {"cleanup": CleanupRecord(left=["project drill-x"])},
        {"source": SourceRecord(project="p", before="a", after="b")},
        {"source": SourceRecord(project="p", before=None, after=None)},
        {"source": SourceRecord(project="p", before="a", after=None)},
    ],
    ids=str,
)
def test_a_fault_of_the_run_leaves_it_not_verified(changed: dict[str, Any]) -> None:
    assert judge_run(run(**changed)) is Verdict.NOT_VERIFIED


def test_a_fault_of_the_run_hides_no_worse_verdict() -> None:
    lost = drill(canaries=CanaryRecord(written=["a"], lost=["a"]))
    assert judge_run(run(drills=[drill(), lost], errors=["x"])) is Verdict.WRONG_DATA


@pytest.mark.parametrize(
    "changed",
    [
        {"not_verified": []},
        {"scenarios": ["snapshot", "tarball"]},
        {"services": ["step-ca", "grafana"]},
        {"drills_made": 2},
    ],
)
def test_a_run_of_which_something_was_cut_out_is_no_recovery(changed: dict[str, Any]) -> None:
    """The one drill that failed, say, out of evidence.json."""
    cut = run(**changed)
    assert judge_run(cut) is Verdict.NOT_VERIFIED
    assert "but the run itself had 1 fault" in run_sentence(cut)


def test_what_was_kept_on_request_is_no_fault() -> None:
    assert judge_run(run(cleanup=CleanupRecord(kept=["project drill-x"]))) is Verdict.RECOVERED


FALSE_GREENS: list[tuple[str, dict[str, Any], Verdict]] = [
    (
        "a broken check of a late recovery",
        {"checks": [BROKEN], "verdict": Verdict.RECOVERED_LATE, "rto": 901.0},
        Verdict.WRONG_DATA,
    ),
    (
        "a canary that no list accounts for",
        {"canaries": CanaryRecord(written=["a", "b"], recovered=["a"])},
        Verdict.NOT_VERIFIED,
    ),
    ("one phase five times", {"phases": [PHASES[0]] * 5}, Verdict.NOT_VERIFIED),
    ("a clock that ran backwards", {"rto": -1.0}, Verdict.NOT_VERIFIED),
]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in FALSE_GREENS],
)
def test_no_false_green(changed: dict[str, Any], expected: Verdict) -> None:
    assert judge_drill(drill(**changed)) is expected


STAND_IN: dict[str, Any] = {"stand_in": True, "verdict": Verdict.NOT_VERIFIED}


@pytest.mark.parametrize("rto", [5.0, 901.0])
def test_a_stand_in_alone_is_told_apart(rto: float) -> None:
    assert judge_drill(drill(**STAND_IN, rto=rto)) is Verdict.NOT_VERIFIED
    assert is_only_stand_in(drill(**STAND_IN, rto=rto))


@pytest.mark.parametrize(
    "changed",
    [
        {"stand_in": False},
        {"verdict": Verdict.NOT_RECOVERED},
        {"verdict": Verdict.WRONG_DATA},
        {"checks": [BROKEN]},
        {"checks": [UNSEEN]},
        {"checks": []},
        {"canaries": None},
        {"rto": None},
        {"phases": PHASES[:4]},
        {"phases": [*PHASES[:4], PHASES[4].model_copy(update={"failed": True})]},
        {"trace": "Traceback"},
        {"members": [MemberRecord(service="loki", fault="not healthy")]},
    ],
    ids=str,
)
def test_a_stand_in_excuses_nothing_else(changed: dict[str, Any]) -> None:
    assert not is_only_stand_in(drill(**{**STAND_IN, **changed}))


def test_the_stand_ins_of_a_fleet_are_its_members() -> None:
    members = [MemberRecord(service="loki"), MemberRecord(service="grafana", stand_in=True)]
    assert stand_ins_of(drill(**STAND_IN, members=members)) == ["grafana"]
    assert stand_ins_of(drill(**STAND_IN)) == ["step-ca"]
    assert stand_ins_of(drill()) == []
