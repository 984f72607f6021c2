"""The auditor's 42 points: each `yes` rests on facts, and goes when one of them goes.

`UPDATE_SAMPLE=1 python -m pytest tests/unit/test_checklist.py` makes the table in docs/auditors.md
and the pages in reports/sample again.
"""

import os
import re
import shutil
from datetime import date
from pathlib import Path

import pytest

from fixtures.evidence.checklist import (
    POINTS,
    Dossier,
    answers,
    main,
    markdown,
    read_dossier,
)
from fixtures.evidence.controls import read_controls
from fixtures.evidence.html import render_controls, render_review
from fixtures.evidence.review import Review, ReviewText
from fixtures.evidence.writer import read_evidence

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports" / "sample"
DOCS = ROOT / "docs" / "auditors.md"
TABLE = re.compile(r"(?<=<!-- checklist -->\n).*?(?=<!-- end of checklist -->)", re.DOTALL)

SCHEMA_2 = {
    "exercise": "full-scale",
    "suite": {"commit": "c0ffee", "changed": []},
    "machine": {"cores": 2, "clock": {"synchronised": True}},
    "options": {"strict": True},
    "drill_projects": [{"name": "drill-1", "config": {"restricted": "true"}}],
    "fleet_file": {"text": "name: atlas"},
    "runbook_file": {"sha256": "00"},
    "seal": {"keyid": "00"},
}
"""What evidence of version 2 has more, as far as points ask for it."""


@pytest.fixture
def sample(tmp_path):
    """The sample; its review was made of docs/review.yaml by `./run review`, and signed."""
    return shutil.copytree(SAMPLE, tmp_path / "sample")


def is_current(file, text):
    if os.environ.get("UPDATE_SAMPLE"):
        file.write_text(text)
    return file.read_text() == text


def test_the_table_in_the_docs_is_that_of_the_sample(sample):
    table = "\n".join(markdown(read_dossier(sample))) + "\n"
    docs = DOCS.read_text()
    assert TABLE.search(docs)
    again = TABLE.sub(lambda _: f"\n{table}\n", docs)
    assert is_current(DOCS, again), "UPDATE_SAMPLE=1 makes it again"


def test_the_pages_of_the_sample_are_those_of_its_evidence(sample):
    dossier = read_dossier(sample)
    page = render_review(dossier.run, dossier.review, dossier.digest)
    assert is_current(SAMPLE / "review.html", page), "UPDATE_SAMPLE=1 makes it again"
    page = render_controls(dossier, read_controls())
    assert is_current(SAMPLE / "controls.html", page), "UPDATE_SAMPLE=1 makes it again"


def test_every_point_is_there_once():
    assert [point.number for point in POINTS] == list(range(1, 43))


def full(sample, **changed):
    """The sample with all that a sealed run of version 2 says, a drill by hand and off-site copies.

    What is changed takes the place of a field of the run's facts.
    """
    plain = read_dossier(sample)
    drills = [_full_drill(drill) for drill in plain.run.drills]
    audits = [audit.model_copy(update={"survivors": []}) for audit in plain.run.audits]
    more = {"drills": drills, "audits": audits, "sample": 3, "seed": 7, "source": None}
    run = plain.run.model_copy(update=more)
    seal = {"evidence.json": plain.digest}
    review = Review(plain.review.entries, ({},) * len(plain.review.entries))
    dossier = Dossier(run, review, seal, plain.digest)
    approved = {"by": "the board", "on": "2026-01-01"}
    cells = [("step-ca", "snapshot", "existing")]
    facts = {
        **run.model_dump(mode="json"),
        **SCHEMA_2,
        "targets": {s: {"source": "runbook", "approved": approved} for s in run.scenarios},
        "programme": [
            {"service": a, "scenario": b, "origin": c, "every": 8e6, "entry_sha256": "00"}
            for a, b, c in cells
        ],
    }
    facts["incus"] |= {"cores": 2, "memory_bytes": 2**33}
    by_hand = {
        "procedure": "person",
        "person": {"name": "Ada Berg", "role": "on call"},
        "commands": [{"command": "incus import", "begin": 0.0}],
    }
    facts["drills"][0] |= by_hand
    dossier.__dict__["facts"] = facts | changed
    return dossier


def _full_drill(drill):
    restore = drill.restore and drill.restore.model_copy(
        update={"declared_bytes": drill.restore.bytes}
    )
    backup = drill.backup and drill.backup.model_copy(update={"sha256": "00", "off_site": True})
    target = 1e6 if drill.origin == "existing" else None
    return drill.model_copy(update={"restore": restore, "backup": backup, "target_rpo": target})


def state_of(dossier, number):
    return answers(dossier)[number - 1].state


def test_a_full_run_has_every_point(sample):
    # The severity of services that could not be drilled is in the fleet file that it embeds.
    short = [(a.point.number, a.missing) for a in answers(full(sample)) if a.state != "yes"]
    assert short == []


def test_without_review_and_seal_the_sample_is_as_poor_as_it_was(sample):
    states = [answer.state for answer in answers(Dossier(read_evidence(SAMPLE / "evidence.json")))]
    assert (states.count("yes"), len(states)) >= (12, 42)
    assert "no" in states


FACTS = {
    3: {"machine": {"clock": {"synchronised": None}}},
    4: {"exercise": None},
    8: {"targets": {}},
    9: {"targets": {"snapshot": {"source": "assumed", "approved": None}}},
    18: {"drill_projects": [{"config": {}}]},
    20: {"suite": {"commit": "c0ffee", "changed": None}},
    26: {"options": {}},
    31: {"programme": []},
    32: {"programme": []},
    36: {"seal": None},
    41: {"runbook_file": None},
}
"""Point -> facts of a full run without which it is no `yes`."""


@pytest.mark.parametrize("number", FACTS)
def test_without_its_fact_a_point_is_no_yes(sample, number):
    assert state_of(full(sample), number) == "yes"
    assert state_of(full(sample, **FACTS[number]), number) != "yes"


def test_a_target_approved_after_the_run_was_not_fixed_before_it(sample):
    late = {"source": "runbook", "approved": {"by": "the board", "on": "2999-01-01"}}
    scenarios = read_evidence(SAMPLE / "evidence.json").scenarios
    dossier = full(sample, targets=dict.fromkeys(scenarios, late))
    assert (state_of(dossier, 8), state_of(dossier, 9)) == ("partly", "yes")


NOTHING = {
    "backup": None,
    "canaries": None,
    "checks": [],
    "compared_with": None,
    "losses": [],
    "not_looked_at": [],
    "phases": [],
    "restore": None,
    "rpo": None,
    "rto": None,
    "target_rpo": None,
}
DRILLS = {
    4: ["not_looked_at", "losses"],
    10: ["target_rpo"],
    11: ["rto"],
    12: ["rpo"],
    13: ["losses"],
    14: ["backup"],
    15: ["checks"],
    16: ["restore"],
    17: [],
    21: ["phases"],
    37: ["phases"],
    38: ["backup"],
    40: ["checks"],
}
"""Point -> fields of every drill without which it is no `yes`."""


@pytest.mark.parametrize("number", DRILLS)
def test_without_a_field_of_the_drills_a_point_is_no_yes(sample, number):
    whole = full(sample)
    assert state_of(whole, number) == "yes"
    update = {field: NOTHING[field] for field in DRILLS[number]}
    drills = [drill.model_copy(update=update) for drill in whole.run.drills]
    run = whole.run.model_copy(update={"drills": drills, "sample": 0})
    spoilt = Dossier(run, whole.review, whole.seal, whole.digest)
    spoilt.__dict__["facts"] = whole.facts
    assert state_of(spoilt, number) != "yes"


@pytest.mark.parametrize("number", [5, 6, 10, 11, 12, 15, 22, 26, 27, 37, 40])
def test_a_run_without_a_drill_shows_nothing_of_drills(sample, number):
    run = read_evidence(SAMPLE / "evidence.json").model_copy(update={"drills": []})
    assert state_of(Dossier(run), number) != "yes"


def test_what_imitations_or_cut_evidence_say_does_not_count(sample):
    whole = full(sample)
    drills = [drill.model_copy(update={"stand_in": True}) for drill in whole.run.drills]
    run = whole.run.model_copy(update={"drills": drills})
    assert [state_of(Dossier(run), number) for number in (6, 11, 15, 40)] == ["no"] * 4
    cut = whole.run.model_copy(update={"drills": drills[1:]})
    assert state_of(Dossier(cut), 42) == "no"
    running = whole.run.model_copy(update={"finished": None, "incus": None})
    assert [state_of(Dossier(running), number) for number in (2, 19)] == ["partly", "no"]


SAID = {
    7: {"basis": None},
    22: {"operator": None},
    23: {"observers": None},
    25: {"reviewer": {"name": "ADA  Berg", "role": "on call"}},
    28: {"actions": []},
    29: {"actions": []},
    30: {"reviewer": None},
    34: {"filed": None},
    35: {"filed": {"where": "here", "until": date(2027, 1, 1)}},
    41: {"revisions": []},
}
"""Point -> what is said in its place in a review, with which it is no `yes`."""


@pytest.mark.parametrize("number", SAID)
def test_without_a_word_of_the_review_a_point_is_no_yes(sample, number):
    whole = full(sample)
    assert state_of(whole, number) == "yes"
    changed = whole.review.entries[0].model_dump() | SAID[number]
    entry = type(whole.review.entries[0]).model_validate(changed)
    spoilt = full(sample)
    object.__setattr__(spoilt, "review", Review((entry,), ({},)))
    assert state_of(spoilt, number) != "yes"


def test_a_late_repair_and_an_unsigned_review_are_no_yes(sample):
    whole = full(sample)
    (entry,) = whole.review.entries
    fix = {"owner": "a", "by": date(2027, 6, 1), "what": "b"}
    items = [key for action in entry.actions for key in action.items]
    late = ReviewText.model_validate({"actions": [{"items": items, "fix": fix}]}).actions
    object.__setattr__(
        whole, "review", Review((entry.model_copy(update={"actions": late}),), (None,))
    )
    assert [state_of(whole, number) for number in (28, 29, 30)] == ["yes", "partly", "partly"]


@pytest.mark.parametrize(
    "by",
    [{"procedure": "engine"}, {"person": None}, {"person": {"name": "Ada Berg", "role": ""}}],
    ids=["engine", "unnamed", "no role"],
)
def test_the_ability_of_staff_needs_a_named_person(sample, by):
    assert state_of(full(sample), 24) == "yes"
    spoilt = full(sample)
    spoilt.facts["drills"][0] |= by
    assert state_of(spoilt, 24) != "yes"


def test_a_recovery_by_hand_of_another_run_stands_in_the_benchmark(sample):
    dossier = read_dossier(sample)
    assert state_of(dossier, 24) == "partly", "who it was stands in the evidence of that run"
    for row in dossier.facts["benchmark"]:
        row["person"] = None
    assert state_of(dossier, 24) == "no"


def test_a_backup_on_demand_needs_no_target_but_must_be_named(sample):
    run = read_evidence(SAMPLE / "evidence.json")
    assert state_of(Dossier(run), 10) == "yes"
    silent = [audit.model_copy(update={"notes": []}) for audit in run.audits]
    assert state_of(Dossier(run.model_copy(update={"audits": silent})), 10) == "partly"


def test_a_seal_of_other_evidence_protects_nothing(sample):
    whole = full(sample)
    other = Dossier(whole.run, whole.review, {"evidence.json": "00"}, whole.digest)
    none = Dossier(whole.run, whole.review, None, None)
    assert [state_of(one, 33) for one in (whole, other, none)] == ["yes", "no", "no"]


def test_a_backup_that_survives_nothing_is_in_no_other_place(sample):
    whole = full(sample)
    assert state_of(whole, 39) == "yes"
    assert state_of(read_dossier(sample), 39) == "no"


def test_it_is_printed_and_what_is_damaged_is_named(sample, capsys):
    assert main([str(sample)]) == 0
    assert capsys.readouterr().out.count("\n| ") == 43
    (sample / "seal.json").write_text("{}")
    assert main([str(sample)]) == 1
    assert "seal.json is damaged" in capsys.readouterr().err
