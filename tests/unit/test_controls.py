"""Which clauses a run is evidence for: computed, never "compliant", and red where it must be."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from fixtures.errors import UsageError
from fixtures.evidence.checklist import Dossier
from fixtures.evidence.controls import (
    SHIPPED,
    Controls,
    assessment_results,
    read_controls,
    supports,
)
from fixtures.evidence.html import render_controls
from fixtures.evidence.record import RunRecord
from fixtures.evidence.review import ReviewText, add_entry, read_review
from fixtures.evidence.writer import write_evidence
from fixtures.plugin.review import write_controls
from tests.unit.test_evidence_judge import PASSING, RUN

CASES = Path(__file__).parents[1] / "cases" / "oscal"
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
BACKUP = {"kind": "snapshot", "name": "b", "taken_at": AT, "seconds": 1.0}


def drill(origin="existing", **facts):
    name = f"step-ca-snapshot-{origin}"
    rpo = {"rpo": 9.0, "backup": BACKUP} if origin == "existing" else {}
    return {**PASSING, "id": name, "origin": origin, "begun": AT, **rpo, **facts}


def run_of(*drills, cells=(), **facts):
    """A run of a fleet with step-ca alone, by snapshot."""
    made = {one["origin"] for one in drills} | {cell["origin"] for cell in cells}
    cell = {"service": "step-ca", "scenario": "snapshot", "reason": "no such recovery"}
    others = [
        {**cell, "origin": origin, "promised": False}
        for origin in ("rehearsal", "existing")
        if origin not in made
    ]
    given = {"drills": list(drills), "not_verified": [*cells, *others], "begun": AT}
    return RunRecord.model_validate({**RUN, "finished": AT, **given, **facts})


def clause(about="existing", *needs):
    needed = list(needs) or [{"drills": {"origin": "existing"}}]
    given = {"id": "x-1", "clause": "X-1", "title": "t", "about": about, "limits": "l"}
    return Controls.model_validate(
        {"controls": 1, "standards": [{"standard": "X", "clauses": [{**given, "needs": needed}]}]}
    )


def support_of(run, controls=None):
    dossier = run if isinstance(run, Dossier) else Dossier(run)
    ((support,),) = [supports(dossier, one) for one in (controls or clause()).standards]
    return support


GAP = {"service": "step-ca", "scenario": "snapshot", "origin": "existing", "reason": "no file"}


def test_a_restored_existing_backup_supports_its_clause():
    support = support_of(run_of(drill()))
    assert support.state == "supported"
    assert support.facts[0].words == "1 of 1 promised recovery of existing backups proven"


@pytest.mark.parametrize(
    "run",
    [
        run_of(drill("rehearsal")),
        run_of(drill("rehearsal"), cells=[GAP]),
        run_of(drill(stand_in=True)),
        run_of(drill(members=[{"service": "grafana", "stand_in": True}])),
        run_of(cells=[GAP], skipped=[{"service": "step-ca", "reason": "no file", "drills": 1}]),
        run_of(drill(rto=1000.0)),
        run_of(drill(checks=[])),
        run_of(drill(verdict="not recovered")),
        run_of(),
    ],
    ids=["rehearsal", "gap", "imitation", "in fleet", "skip", "late", "no check", "red", "nothing"],
)
def test_nothing_else_supports_a_clause_about_existing_backups(run):
    support = support_of(run)
    assert support.state == "not"
    assert "no existing backup was restored and verified" in support.why


@pytest.mark.parametrize(
    "need",
    [{"point": 1}, {"audit": "backup regime"}, {"point": 6}],
    ids=["id", "audit", "scenario"],
)
def test_not_even_where_the_clause_asks_for_no_drill(need):
    """A file of the user's that forgets the drill, about existing backups, is no loophole."""
    check = {"name": "age", "outcome": "held", "detail": "1 h"}
    audit = {"id": "a", "subject": "x", "topic": "backup regime", "begun": AT, "seconds": 1}
    audits = [{**audit, "checks": [check]}]
    rehearsed = run_of(drill("rehearsal"), audits=audits)
    assert support_of(rehearsed, clause("existing", need)).state == "not"
    assert support_of(run_of(drill(), audits=audits), clause("existing", need)).state == "supported"
    assert support_of(rehearsed, clause("procedure", need)).state == "supported"


def test_a_rehearsal_may_not_stand_in_a_clause_about_existing_backups():
    with pytest.raises(ValueError, match="of which a rehearsal says nothing"):
        clause("existing", {"drills": {"origin": "rehearsal"}})


def test_some_of_several_is_partly():
    other = {**GAP, "service": "loki"}
    rehearsal = {**other, "origin": "rehearsal", "promised": False}
    run = run_of(
        drill(), cells=[other, rehearsal, {**GAP, "origin": "rehearsal", "promised": False}]
    )
    assert support_of(run).state == "partly"
    two = clause("existing", {"drills": {"origin": "existing"}}, {"point": 33})
    assert support_of(run_of(drill()), two).state == "partly"


def test_a_run_with_faults_supports_nothing_whole():
    support = support_of(run_of(drill(), errors=["the source answered 503"]))
    assert (support.state, support.why) == ("partly", "the run itself had faults")


HELD = {"name": "files below the volume", "outcome": "held", "detail": "9 files"}
NEED = {"check": {"name": "files", "scenarios": ["snapshot"]}}


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ([HELD], "supported"),
        ([{**HELD, "name": "step-ca: files below the volume"}], "supported"),
        ([{**HELD, "name": "answers"}], "not"),
    ],
)
def test_a_check_is_looked_for_in_the_drills(checks, state):
    assert (
        support_of(run_of(drill(checks=checks)), clause("existing", NEED)).facts[0].state == state
    )


def test_of_an_existing_clause_only_checks_of_existing_backups_count():
    """The rehearsal holds it, the existing backup does not."""
    run = run_of(drill(checks=[{**HELD, "name": "answers"}]), drill("rehearsal", checks=[HELD]))
    assert support_of(run, clause("existing", NEED)).state == "not"
    assert support_of(run, clause("procedure", NEED)).state == "partly"


def test_an_audit_with_a_finding_is_not_in_order():
    check = {"name": "age", "outcome": "broken", "detail": "9 d"}
    audit = {"id": "a", "subject": "x", "topic": "backup regime", "begun": AT, "seconds": 1}
    run = run_of(drill(), audits=[{**audit, "checks": [check]}])
    need = {"audit": "backup regime"}
    assert support_of(run, clause("procedure", need)).state == "not"
    assert support_of(run_of(drill()), clause("procedure", need)).state == "not"


def with_programme(run, every=86400.0):
    dossier = Dossier(run, digest="00" * 32)
    cell = {"service": "step-ca", "scenario": "snapshot", "origin": "existing", "every": every}
    dossier.__dict__["facts"] = {**run.model_dump(mode="json"), "programme": [cell]}
    return dossier


def test_a_programme_says_until_when_it_counts():
    assert support_of(run_of(drill())).expires is None
    assert support_of(with_programme(run_of(drill()))).expires == AT + timedelta(days=1)
    red = with_programme(run_of(drill(verdict="not recovered")))
    assert support_of(red).expires is None


def test_the_shipped_file_is_whole_and_names_no_clause_twice():
    controls = read_controls()
    ids = [clause.id for one in controls.standards for clause in one.clauses]
    assert len(ids) == len(set(ids))
    wanted = {"cp-4", "cp-9", "cp-10", "au-8", "au-9", "au-10", "au-11", "ca-2", "ca-5"}
    wanted |= {"iso27001_a.5.29", "iso27001_a.5.30", "iso27001_a.8.13", "iso22301_8.5"}
    wanted |= {"soc2_a1.2", "soc2_a1.3", "dora_11.6", "dora_12", "dora_rts_25", "cis_11.5"}
    assert wanted <= set(ids)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("controls: 2", "controls: Input should be 1"),
        ("a: [", "while parsing"),
        ("controls: 1\nstandards: []", "standards: List should have at least 1 item"),
        (SHIPPED.read_text().replace("{point: 5}", "{point: 43}", 1), "less than or equal to 42"),
        (SHIPPED.read_text().replace("{point: 5}", "{}", 1), "needs one of drills, audit"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, seen):
    file = tmp_path / "controls.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=seen):
        read_controls(file)


def test_the_page_says_what_it_does_not_say(golden):
    page = render_controls(Dossier(golden, digest="00"), read_controls())
    words = re.sub(r"<[^>]*>", "", page)
    assert "Nobody is compliant by a run" in words
    assert words.replace("Nobody is compliant by a run", "").count("compliant") == 0
    assert "no existing backup was restored and verified" in words


def nists_schema():
    """NIST's own schema of assessment results; Python's re writes its classes otherwise."""
    text = (CASES / "oscal_assessment-results_schema.json").read_text()
    for unicode, ours in (("\\\\p{L}", "[^\\\\W\\\\d_]"), ("\\\\p{N}", "\\\\d")):
        assert unicode in text
        text = text.replace(unicode, ours)
    return jsonschema.Draft7Validator(json.loads(text))


def faults_of(results):
    return [error.message for error in nists_schema().iter_errors(results)]


@pytest.fixture
def reviewed(tmp_path, golden):
    write_evidence(golden, tmp_path)
    fix = {"owner": "Ada Berg", "by": "2999-12-20", "what": "export again"}
    ada = {"name": "Ada Berg", "role": "on call"}
    said = {"operator": ada, "observers": [ada], "actions": [{"items": ["*"], "fix": fix}]}
    add_entry(tmp_path, golden, ReviewText.model_validate(said), user="root")
    return Dossier(golden, read_review(tmp_path), None, "00" * 32)


def test_the_export_is_what_nists_schema_takes(reviewed, golden):
    for dossier in (reviewed, Dossier(golden), with_programme(run_of(drill()))):
        assert faults_of(assessment_results(dossier, read_controls())) == []


@pytest.mark.parametrize("key", ["uuid", "metadata", "results", "import-ap"])
def test_the_schema_is_seen_red(reviewed, key):
    results = assessment_results(reviewed, read_controls())
    del results["assessment-results"][key]
    assert faults_of(results)


def test_a_satisfied_objective_is_ours_and_supported(reviewed):
    results = assessment_results(reviewed, read_controls())["assessment-results"]
    own = {
        part["id"]
        for one in results["local-definitions"]["objectives-and-methods"]
        for part in one["parts"]
    }
    for result in results["results"]:
        observed = {one["uuid"] for one in result["observations"]}
        for finding in result["findings"]:
            assert finding["target"]["target-id"] in own
            is_satisfied = finding["target"]["status"]["state"] == "satisfied"
            assert is_satisfied == (finding["props"][0]["value"] == "supported")
            related = {one["observation-uuid"] for one in finding["related-observations"]}
            assert related
            assert related <= observed


def test_actions_are_risks_with_a_deadline_and_proofs_expire(reviewed):
    results = assessment_results(reviewed, read_controls())["assessment-results"]["results"]
    assert {risk["deadline"] for risk in results[0]["risks"]} == {"2999-12-20T23:59:59+00:00"}
    assert all("risks" not in result for result in results[1:])
    counted = assessment_results(with_programme(run_of(drill())), clause())
    (observation,) = counted["assessment-results"]["results"][0]["observations"]
    assert observation["expires"] == (AT + timedelta(days=1)).isoformat()
    assert observation["methods"] == ["TEST"]


def test_the_same_run_gives_the_same_ids(reviewed):
    one, two = (assessment_results(reviewed, read_controls()) for _ in range(2))
    assert one == two
    assert len(set(re.findall(r'"uuid": "([^"]+)"', json.dumps(one)))) == (
        json.dumps(one).count('"uuid": ')
    )


def test_both_files_are_written_next_to_the_evidence(tmp_path, golden, capsys):
    before = write_evidence(golden, tmp_path / "r").read_bytes()
    assert write_controls([str(tmp_path / "r")]) == 0
    assert faults_of(json.loads((tmp_path / "r" / "assessment-results.json").read_text())) == []
    assert "What run" in (tmp_path / "r" / "controls.html").read_text()
    assert (tmp_path / "r" / "evidence.json").read_bytes() == before
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(clause().model_dump(mode="json", exclude_none=True)))
    assert write_controls([str(tmp_path / "r"), f"--controls={own}"]) == 0
    assert "X-1" in (tmp_path / "r" / "controls.html").read_text()
    own.write_text("controls: 1")
    assert write_controls([str(tmp_path / "r"), f"--controls={own}"]) == 2
    assert "standards: Field required; nothing was written" in capsys.readouterr().out
    assert write_controls(["nothing", f"--reports={tmp_path}"]) == 2
