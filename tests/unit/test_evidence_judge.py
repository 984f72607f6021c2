"""Each rule of the judge over sane and pathological evidence; verdicts combine, the worst wins."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.evidence.judge import ends_well, has_only_gaps, judge_drill, judge_run
from fixtures.evidence.record import (
    WORST_LAST,
    AuditVerdict,
    CanaryRecord,
    CheckRecord,
    CleanupRecord,
    DrillRecord,
    PhaseRecord,
    RunRecord,
    SkipRecord,
    SourceRecord,
    Verdict,
    merge,
    merge_audits,
)
from fixtures.evidence.wording import band, run_sentence, skips

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = 86400.0
FIVE = ("destroy", "restore", "start", "healthy", "verified")
PHASES = [PhaseRecord(name=name, begin=float(at), seconds=1.0) for at, name in enumerate(FIVE)]
HELD = CheckRecord(name="answers", outcome="held", detail="200")
BROKEN = CheckRecord(name="silence", outcome="broken", detail="404")
UNSEEN = CheckRecord(name="silence", outcome="not looked", detail="timed out")
LEDGER = CanaryRecord(written=["a", "b"], recovered=["a"], gone=["b"])
LOST = CanaryRecord(written=["a"], lost=["a"])
NO_PACKAGE = "the vendor's package could not be fetched (timed out)"
SKIPPED = SkipRecord(service="grafana", reason=NO_PACKAGE, drills=9)
PASSING = {
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
RUN = {
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
        {"service": "step-ca", "scenario": "snapshot", "origin": "existing"}
        | {"reason": "not selected in this run"}
    ],
}


def drill(**changed):
    """A drill that passes, except for what is changed."""
    return DrillRecord(**{**PASSING, **changed})


def run(**changed):
    """A run of one passing drill, except for what is changed."""
    return RunRecord(**{**RUN, "drills": [drill()], **changed})


LATE, NOT_VERIFIED = Verdict.RECOVERED_LATE, Verdict.NOT_VERIFIED
NOT_RECOVERED, WRONG = Verdict.NOT_RECOVERED, Verdict.WRONG_DATA
FAILED = PHASES[4].model_copy(update={"failed": True})
EXISTING = {"origin": "existing", "target_rpo": 1.1 * DAY}


def ledger(**lists):
    """What a drill has where its canaries ended so."""
    return {"canaries": CanaryRecord(**lists)}


CASES = {
    "whole and in time": ({}, Verdict.RECOVERED),
    "exactly the target": ({"rto": 900.0}, Verdict.RECOVERED),
    "over target": ({"rto": 900.01}, LATE),
    "recorded as late": ({"verdict": LATE}, Verdict.RECOVERED),
    "a canary is lost": (ledger(written=["a"], lost=["a"]), WRONG),
    "a canary is changed": (ledger(written=["a"], changed=["a"]), WRONG),
    "a later canary": (ledger(written=["a", "b"], recovered=["a"], unexpected=["b"]), WRONG),
    "a check is broken": ({"checks": [HELD, BROKEN]}, WRONG),
    "late, and a check is broken": ({"checks": [BROKEN], "verdict": LATE, "rto": 901.0}, WRONG),
    "failed before its checks": ({"checks": [BROKEN], "verdict": NOT_RECOVERED}, NOT_RECOVERED),
    "recorded as not recovered": ({"verdict": NOT_RECOVERED}, NOT_RECOVERED),
    "recorded as wrong data": ({"verdict": WRONG}, WRONG),
    "recorded as not verified": ({"verdict": NOT_VERIFIED}, NOT_VERIFIED),
    "an imitation of before": ({"stand_in": True}, NOT_VERIFIED),
    "a check not looked at": ({"checks": [HELD, UNSEEN]}, NOT_VERIFIED),
    "no check": ({"checks": []}, NOT_VERIFIED),
    "no ledger": ({"canaries": None}, NOT_VERIFIED),
    "an empty ledger": (ledger(), NOT_VERIFIED),
    "only later canaries": (ledger(written=["b"], gone=["b"]), NOT_VERIFIED),
    "a canary that no list has": (ledger(written=["a", "b"], recovered=["a"]), NOT_VERIFIED),
    "no RTO": ({"rto": None}, NOT_VERIFIED),
    "a clock that ran backwards": ({"rto": -1.0}, NOT_VERIFIED),
    "a phase is missing": ({"phases": PHASES[:4]}, NOT_VERIFIED),
    "one phase five times": ({"phases": [PHASES[0]] * 5}, NOT_VERIFIED),
    "a phase failed": ({"phases": [*PHASES[:4], FAILED]}, NOT_VERIFIED),
    "a backup as its schedule has it": ({**EXISTING, "rpo": DAY}, Verdict.RECOVERED),
    "a stale backup": ({**EXISTING, "rpo": 1.2 * DAY}, LATE),
    "a backup of unknown age": ({**EXISTING, "rpo": None}, LATE),
    "old, without a schedule": ({"origin": "existing", "rpo": 900 * DAY}, Verdict.RECOVERED),
}


@pytest.mark.parametrize(("changed", "expected"), CASES.values(), ids=CASES)
def test_a_drill_is_judged_by_its_facts(changed, expected):
    assert judge_drill(drill(**changed)) is expected


SOME = st.lists(st.sampled_from(Verdict), min_size=1)


@given(SOME, st.sampled_from(Verdict))
def test_a_pass_needs_every_drill_and_one_more_never_improves_a_verdict(some, more):
    assert merge(some).is_pass is (set(some) == {Verdict.RECOVERED})
    worse = merge([*some, more])
    assert worse is merge([merge(some), more])
    assert WORST_LAST.index(worse) >= WORST_LAST.index(merge(some))


def test_no_verdict_is_not_verified_and_an_unknown_one_raises():
    assert (merge([]), merge_audits([])) == (Verdict.NOT_VERIFIED, AuditVerdict.NOT_VERIFIED)
    assert ", ".join(WORST_LAST).startswith("recovered, recovered late, not verified, not rec")
    with pytest.raises(ValueError, match="'green' is not a valid Verdict"):
        merge([Verdict.RECOVERED, "green"])
    with pytest.raises(ValueError, match="recovered"):
        merge_audits(["recovered"])


def test_a_whole_run_recovered():
    assert judge_run(run()) is Verdict.RECOVERED
    kept = run(cleanup=CleanupRecord(kept=["project drill-x"]))
    assert judge_run(kept) is Verdict.RECOVERED, "what was kept on request is no fault"


@pytest.mark.parametrize(
    "changed",
    [
        {"errors": ["the disk was full"]},
        {"interrupted": True},
        {"finished": None},
        {"cleanup": CleanupRecord(left=["project drill-x"])},
        {"source": SourceRecord(project="p", before="a", after="b")},
        {"source": SourceRecord(project="p", before=None, after=None)},
        {"source": SourceRecord(project="p", before="a", after=None)},
        # Something was cut out, e.g. the one drill that failed.
        {"not_verified": []},
        {"scenarios": ["snapshot", "tarball"]},
        {"services": ["step-ca", "grafana"]},
        {"drills_made": 2},
    ],
    ids=str,
)
def test_a_fault_of_the_run_leaves_it_not_verified(changed):
    faulty = run(**changed)
    assert judge_run(faulty) is Verdict.NOT_VERIFIED
    assert "but the run itself had 1 fault" in run_sentence(faulty)
    assert judge_run(run(**{**changed, "drills": [drill(canaries=LOST)]})) is Verdict.WRONG_DATA


def test_a_run_without_a_drill_proves_nothing():
    assert judge_run(run(drills=[])) is NOT_VERIFIED
    skipped = run(drills=[], skipped=[SKIPPED])
    assert not has_only_gaps(skipped)
    assert band(skipped).words == "not verified"


def test_a_run_with_skips_is_no_pass_but_says_that_the_rest_recovered():
    skipped = [SKIPPED, SKIPPED.model_copy(update={"service": "atlantis", "drills": 4})]
    gaps = run(skipped=skipped)
    assert judge_run(gaps) is Verdict.NOT_VERIFIED
    assert has_only_gaps(gaps)
    assert ends_well(gaps)
    assert band(gaps).style == "gaps"
    assert band(gaps).words == "recovered, with gaps: grafana, atlantis"
    assert band(gaps).sentence == "The only drill that could be made recovered within target."
    assert skips(gaps) == [f"grafana, atlantis (13 drills skipped): {NO_PACKAGE}"]
    assert not has_only_gaps(run())
    assert band(run()).words == "recovered"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"drills": [drill(canaries=LOST)]}, "wrong data"),
        ({"drills": [drill(rto=901.0)]}, "not verified"),
        ({"drills": [drill(), drill(checks=[UNSEEN])]}, "not verified"),
        ({"errors": ["the disk was full"]}, "not verified"),
        ({"not_verified": []}, "not verified"),
    ],
    ids=["wrong", "late", "not looked", "fault", "cell without a reason"],
)
def test_gaps_excuse_nothing_else(changed, verdict):
    judged = run(**changed, skipped=[SKIPPED])
    assert not has_only_gaps(judged)
    assert not ends_well(judged)
    assert band(judged).words == judge_run(judged) == verdict


SEEN = [
    CheckRecord(name=name, outcome="held", detail="")
    for name in ("files below the volume", "stays up", "it holds data", "whole: every block")
]
SOUND = {"origin": "existing", "strength": "sound", "canaries": CanaryRecord()}


def test_a_sound_backup_needs_each_of_its_parts():
    assert judge_drill(drill(**SOUND, checks=SEEN)) is Verdict.RECOVERED
    for missing in SEEN:
        left = [check for check in SEEN if check is not missing]
        unseen = missing.model_copy(update={"outcome": "not looked"})
        assert judge_drill(drill(**SOUND, checks=left)) is Verdict.NOT_VERIFIED
        assert judge_drill(drill(**SOUND, checks=[*left, unseen])) is Verdict.NOT_VERIFIED
    assert judge_drill(drill(**{**SOUND, "strength": None}, checks=SEEN)) is Verdict.NOT_VERIFIED
    native = {**SOUND, "scenario": "native"}
    assert judge_drill(drill(**native, checks=SEEN[1:])) is Verdict.RECOVERED, "it lists no files"


def test_each_service_of_a_fleet_is_proven_by_itself():
    """One that was not compared with anything needs all of its own checks."""
    one = {"service": "x", "strength": "sound", "healthy": 1.0}
    parts = [check.model_copy(update={"name": f"x: {check.name}"}) for check in SEEN]
    whole = {**SOUND, "canaries": LEDGER, "members": [one]}
    assert judge_drill(drill(**whole, checks=parts)) is Verdict.RECOVERED
    assert judge_drill(drill(**whole, checks=parts[1:])) is Verdict.NOT_VERIFIED
    assert judge_drill(drill(**whole, checks=SEEN)) is Verdict.NOT_VERIFIED
    whole["canaries"] = CanaryRecord(written=["x: object"], recovered=["x: object"])
    assert judge_drill(drill(**whole, checks=SEEN)) is Verdict.RECOVERED


def test_the_headline_says_how_strong_the_proofs_of_existing_backups_are():
    exact = drill(origin="existing", strength="exact")
    sound = drill(**SOUND, checks=SEEN)
    unproven = drill(**SOUND, checks=SEEN[1:])
    said = run_sentence(run(drills=[drill(strength="exact"), exact, sound, unproven]))
    assert "Strength of the proofs of existing backups: 1 exact, 1 sound." in said
    assert "Strength" not in run_sentence(run(drills=[drill(strength="exact")]))
