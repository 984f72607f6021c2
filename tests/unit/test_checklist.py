"""The auditor's 42 points: each `yes` rests on facts, and goes when one of them goes.

`UPDATE_SAMPLE=1 python -m pytest tests/unit/test_checklist.py` makes the table in docs/auditors.md
and the pages in reports/sample again.
"""

import os
import re
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from fixtures.evidence.checklist import POINTS, Dossier, main, markdown, read_dossier
from fixtures.evidence.controls import read_controls
from fixtures.evidence.html import render_controls, render_review
from fixtures.evidence.record import RunRecord
from fixtures.evidence.review import Review, ReviewEntry
from tests.unit.sealed import record

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports" / "sample"
DOCS = ROOT / "docs" / "auditors.md"
TABLE = re.compile(r"(?<=<!-- checklist -->\n).*?(?=<!-- end of checklist -->)", re.DOTALL)


@pytest.fixture(scope="module")
def sample():
    """The sample; its review was made of docs/review.yaml by `./run review`, and signed."""
    return read_dossier(SAMPLE)


def is_current(file, text):
    if os.environ.get("UPDATE_SAMPLE"):
        file.write_text(text)
    return file.read_text() == text


def test_the_table_in_the_docs_and_the_pages_are_those_of_the_sample(sample):
    table, docs = "\n".join(markdown(sample)) + "\n", DOCS.read_text()
    pages = {
        DOCS: TABLE.sub(lambda _: f"\n{table}\n", docs),
        SAMPLE / "review.html": render_review(sample.run, sample.review, sample.digest),
        SAMPLE / "controls.html": render_controls(sample, read_controls()),
    }
    assert TABLE.search(docs)
    old = [file.name for file, text in pages.items() if not is_current(file, text)]
    assert old == [], "UPDATE_SAMPLE=1 makes them again"


def changed(dossier, review=None, **facts):
    """A dossier whose run has other facts, checked as evidence is, and another review."""
    data = dossier.run.model_dump(mode="json") | facts
    return replace(dossier, run=RunRecord.model_validate(data), review=review or dossier.review)


@pytest.fixture(scope="module")
def full(sample):
    """The sample with all that a run can show: a drill by hand, off-site copies, all of it signed.

    The severity of services that could not be drilled is in the fleet file that it embeds.
    """
    made = record().model_dump(mode="json")
    drills = [_full_drill(drill) for drill in sample.run.model_dump(mode="json")["drills"]]
    by_hand = {
        "id": "by-hand",
        "procedure": "person",
        "person": {"name": "Ada Berg", "role": "on call"},
        "commands": [{"command": "incus import", "begin": 0.0}],
    }
    target = {"title": "t", "seconds": 900, "source": "runbook"}
    approved = {"approved": {"by": "the board", "on": "2026-01-01"}}
    facts = {name: made[name] for name in ("machine", "suite", "drill_projects", "runbook_file")}
    entries = sample.review.entries
    dossier = replace(sample, seal={"evidence.json": sample.digest})
    return changed(
        dossier,
        **facts,
        review=Review(entries, ({},) * len(entries)),
        drills=[*drills, drills[0] | by_hand],
        drills_made=len(drills) + 1,
        sample=3,
        seed=7,
        source=None,
        seal={"keyid": "00", "public_key": ""},
        incus=sample.run.incus.model_dump() | {"cores": 2, "memory_bytes": 2**33},
        targets=dict.fromkeys(sample.run.scenarios, target | approved),
    )


def _full_drill(drill):
    if drill["restore"]:
        drill["restore"]["declared_bytes"] = drill["restore"]["bytes"]
    if drill["backup"]:
        drill["backup"] |= {"sha256": "00", "off_site": True}
    return drill | {"target_rpo": 1e6 if drill["origin"] == "existing" else None}


def state_of(dossier, number):
    return dossier.answers[number - 1].state


def states_of(dossier, *numbers):
    return [state_of(dossier, number) for number in numbers]


def test_a_full_run_has_every_point(full):
    assert [point.number for point in POINTS] == list(range(1, 43))
    assert [(a.point.number, a.missing) for a in full.answers if a.state != "yes"] == []


UNAPPROVED = {"title": "t", "seconds": 900, "source": "assumed"}
FACTS = {
    3: {"machine": None},
    4: {"exercise": None},
    8: {"targets": {}},
    9: {"targets": {"snapshot": UNAPPROVED}},
    18: {"drill_projects": [{"name": "drill-1", "config": {}}]},
    20: {"suite": None},
    26: {"options": {}},
    31: {"programme": []},
    32: {"programme": []},
    36: {"seal": None},
    41: {"runbook_file": None},
    42: {"drills_made": 1},
    2: {"finished": None},
    17: {"as_of": "2026-11-01T00:00:00Z"},
    19: {"incus": None},
}
"""Point -> facts of a full run without which it is no `yes`."""


@pytest.mark.parametrize("number", FACTS)
def test_without_its_fact_a_point_is_no_yes(full, number):
    assert state_of(changed(full, **FACTS[number]), number) != "yes"


def test_a_target_approved_after_the_run_was_not_fixed_before_it(full):
    late = UNAPPROVED | {"source": "runbook", "approved": {"by": "b", "on": "2999-01-01"}}
    dossier = changed(full, targets=dict.fromkeys(full.run.scenarios, late))
    assert states_of(dossier, 8, 9) == ["partly", "yes"]


EMPTY = ("not_looked_at", "losses", "checks", "phases", "commands")
DRILLS = {
    4: ["not_looked_at", "losses"],
    10: ["target_rpo"],
    11: ["rto"],
    12: ["rpo"],
    13: ["losses"],
    14: ["backup"],
    15: ["checks"],
    16: ["restore"],
    21: ["phases"],
    24: ["person"],
    37: ["phases"],
    38: ["backup"],
    40: ["checks"],
}
"""Point -> fields of every drill without which it is no `yes`."""


@pytest.mark.parametrize("number", DRILLS)
def test_without_a_field_of_the_drills_a_point_is_no_yes(full, number):
    update = {field: [] if field in EMPTY else None for field in DRILLS[number]}
    drills = [drill.model_copy(update=update) for drill in full.run.drills]
    run = full.run.model_copy(update={"drills": drills})
    assert state_of(replace(full, run=run), number) != "yes"


@pytest.mark.parametrize("by", [{"procedure": "engine"}, {"person": {"name": "Ada", "role": ""}}])
def test_the_ability_of_staff_needs_a_named_person(full, by):
    *others, last = full.run.model_dump(mode="json")["drills"]
    assert state_of(changed(full, drills=[*others, last | by], benchmark=[]), 24) != "yes"


def test_nothing_and_imitations_show_nothing_of_drills(full, sample):
    nothing = changed(full, drills=[])
    assert "yes" not in states_of(nothing, 5, 6, 10, 11, 12, 15, 26, 27, 37, 40)
    drills = [drill | {"stand_in": True} for drill in full.run.model_dump(mode="json")["drills"]]
    assert set(states_of(changed(full, drills=drills), 6, 11, 15, 40)) == {"no"}
    assert state_of(changed(full, sample=0), 17) == "partly"
    bare = [answer.state for answer in Dossier(sample.run).answers]
    assert bare.count("yes") >= 12 and "no" in bare


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


def said(dossier, envelope, **words):
    (entry,) = dossier.review.entries
    entry = ReviewEntry.model_validate(entry.model_dump() | words)
    return replace(dossier, review=Review((entry,), (envelope,)))


@pytest.mark.parametrize("number", SAID)
def test_without_a_word_of_the_review_a_point_is_no_yes(full, number):
    assert state_of(said(full, {}, **SAID[number]), number) != "yes"


def test_a_late_repair_and_an_unsigned_review_are_no_yes(full):
    fix = {"owner": "a", "by": date(2027, 6, 1), "what": "b"}
    items = [key for action in full.review.every("actions") for key in action.items]
    late = said(full, None, actions=[{"items": items, "fix": fix}])
    assert states_of(late, 28, 29, 30) == ["yes", "partly", "partly"]


def test_a_recovery_by_hand_of_another_run_stands_in_the_benchmark(sample):
    first, *rows = sample.run.model_dump(mode="json")["benchmark"]
    by_hand = changed(sample, benchmark=[first | {"person": 11.9}, *rows])
    assert state_of(by_hand, 24) == "partly", "who it was stands in the evidence of that run"
    assert state_of(changed(sample, benchmark=[]), 24) == "no"


def test_a_backup_on_demand_needs_no_target_but_must_be_named(sample):
    assert state_of(sample, 10) == "yes"
    silent = [audit | {"notes": []} for audit in sample.run.model_dump(mode="json")["audits"]]
    assert state_of(changed(sample, audits=silent), 10) == "partly"


def test_a_seal_of_other_evidence_and_a_backup_in_one_place_protect_nothing(full, sample):
    assert state_of(replace(full, seal={"evidence.json": "00"}), 33) == "no"
    assert state_of(replace(full, seal=None, digest=None), 33) == "no"
    assert state_of(sample, 39) == "no"


def test_it_is_printed_and_what_is_damaged_is_named(tmp_path, capsys):
    run = shutil.copytree(SAMPLE, tmp_path / "sample")
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.count("\n| ") == 43
    (run / "seal.json").write_text("{}")
    assert main([str(run)]) == 1
    assert "seal.json is damaged" in capsys.readouterr().err
