"""The audit of the programme, seen red: each way in which a proof counts no more."""

from datetime import timedelta

import pytest

import drills.test_programme as programme_drill
from fixtures.audit.audit import Audit
from fixtures.audit.policy import promises
from fixtures.evidence.programme import standings
from fixtures.evidence.record import AuditVerdict, Verdict
from fixtures.plugin.audits import ProgrammeUnderAudit
from tests.unit.test_programme import ATLAS, CELL, NOW, line, stated, with_service

CELLS = [(p.service, p.scenario, p.origin) for p in promises(ATLAS) if p.service == "prometheus"]
GREEN = [line(10, cell) for cell in CELLS]


def under_audit(lines, fleet=None, now=NOW, drilled=frozenset()):
    fleet = fleet or stated()
    own = [s for s in standings(promises(fleet), lines, now) if s.place in CELLS]
    return ProgrammeUnderAudit(own, fleet, drilled)


def audited(*about, **more):
    """Make the audit of Prometheus by the drill's own body: verdict, and what is not in order."""
    audit = Audit("prometheus", "programme")
    programme_drill.test_every_proof_still_counts(audit, under_audit(*about, **more))
    broken = {c.name: c.detail for c in audit.checks if c.outcome != "held"}
    assert (audit.verdict is AuditVerdict.IN_ORDER) == (bool(audit.checks) and not broken)
    return audit.verdict, broken


def test_proofs_that_count_are_in_order():
    assert audited(GREEN) == (AuditVerdict.IN_ORDER, {})


def test_the_day_after_is_a_finding():
    assert audited(GREEN, now=NOW + timedelta(days=82))[1] == {}
    verdict, broken = audited(GREEN, now=NOW + timedelta(days=83))
    assert verdict is AuditVerdict.FINDINGS
    assert {name.partition(" ")[0] for name in broken} == {"snapshot", "tarball"}
    assert all("overdue: the proof is of 19 Nov 2026" in detail for detail in broken.values())


def test_another_version_is_a_finding():
    verdict, broken = audited([*GREEN, line(1, software="Prometheus 2.54.0")])
    assert verdict is AuditVerdict.FINDINGS
    assert len(broken) == len(CELLS) - 1 and "snapshot (rehearsal) is proven" not in broken
    assert all(detail.startswith("void: ") for detail in broken.values())
    assert audited([*GREEN, line(1, software="Prometheus 2.53.3 ")])[1] == {}


def test_a_red_drill_that_was_not_tested_again_is_a_finding():
    red = line(5, verdict=Verdict.WRONG_DATA)
    assert audited([*GREEN, red])[1] == {}, "there are 30 days for it"
    names = [
        check.name for check in under_audit([*GREEN, red]).proofs() if check.detail[:5] == "wrong"
    ]
    assert names == ["snapshot (rehearsal) was red, and is within the time for its retest"]
    _, broken = audited([*GREEN, red], now=NOW + timedelta(days=26))
    (detail,) = broken.values()
    assert "wrong data on 24 Nov 2026" in detail and "at the latest on 24 Dec 2026" in detail


def test_what_was_never_proven_is_a_finding_of_a_stated_programme_and_noted_without():
    missing = [x for x in GREEN if (x.service, x.scenario, x.origin) != CELL]
    (detail,) = audited(missing)[1].values()
    assert detail == "never proven: no drill has proven it"
    assert audited(missing, ATLAS)[1] == {}
    (said,) = [note for note in under_audit(missing, ATLAS).notes if "never proven" in note]
    assert "snapshot (rehearsal)" in said and "tarball" not in said


def test_what_the_fleet_file_does_not_drill_is_noted_with_its_reason():
    fleet = with_service(not_drilled={"snapshot": "a pool without snapshots"})
    missing = [x for x in GREEN if x.scenario != "snapshot"]
    assert audited(missing, fleet) == (AuditVerdict.IN_ORDER, {})
    notes = under_audit(missing, fleet).notes
    said = [note for note in notes if "a pool without snapshots" in note]
    assert len(said) == 2, "rehearsal and existing"


def test_a_plaintext_tarball_is_not_asked_for_where_encrypted_ones_are_made():
    cells = {(p.scenario, p.origin) for p in promises(ATLAS) if p.service == "step-ca"}
    assert ("tarball", "existing") not in cells
    assert {("tarball", "rehearsal"), ("encrypted-tarball", "existing")} <= cells


def test_what_this_run_drills_is_answered_by_its_drill():
    assert audited([], drilled=frozenset(CELLS)) == (AuditVerdict.IN_ORDER, {})
    assert len(audited([], drilled=frozenset({CELL}))[1]) == len(CELLS) - 1


@pytest.mark.parametrize("lines", [[], [line(3, ("loki", *CELL[1:]))]])
def test_nothing_to_judge_is_no_pass(lines):
    assert audited(lines, ATLAS) == (AuditVerdict.NOT_VERIFIED, {})
