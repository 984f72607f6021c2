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

OSCAL = Path(__file__).parents[1] / "cases" / "oscal"
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
BACKUP = {"kind": "snapshot", "name": "b", "taken_at": AT, "seconds": 1.0}


def drill(origin="existing", **facts):
    name = f"step-ca-snapshot-{origin}"
    rpo = {"rpo": 9.0, "backup": BACKUP} if origin == "existing" else {}
    return {**PASSING, "id": name, "origin": origin, "begun": AT, **rpo, **facts}


def gap(service="step-ca", origin="existing", **facts):
    cell = {"service": service, "scenario": "snapshot", "origin": origin, "reason": "no file"}
    return {**cell, **facts}


def run_of(*drills, cells=(), **facts):
    """A run of a fleet with step-ca alone, by snapshot."""
    made = {one["origin"] for one in drills} | {cell["origin"] for cell in cells}
    others = {"rehearsal", "existing"} - made
    unpromised = [gap(origin=origin, promised=False) for origin in sorted(others)]
    given = {"drills": list(drills), "not_verified": [*cells, *unpromised], "begun": AT}
    return RunRecord.model_validate({**RUN, "finished": AT, **given, **facts})


def audited(outcome):
    """What a run has more with an audit that saw this."""
    check = {"name": "age", "outcome": outcome, "detail": "9 d"}
    audit = {"id": "a", "subject": "x", "topic": "backup regime", "begun": AT, "seconds": 1}
    return {"audits": [{**audit, "checks": [check]}]}


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


def test_a_restored_existing_backup_supports_its_clause():
    support = support_of(run_of(drill()))
    assert support.state == "supported"
    assert support.facts[0].words == "1 of 1 promised recovery of existing backups proven"


@pytest.mark.parametrize(
    "run",
    [
        run_of(drill("rehearsal")),
        run_of(drill("rehearsal"), cells=[gap()]),
        run_of(drill(stand_in=True)),
        run_of(drill(members=[{"service": "grafana", "stand_in": True}])),
        run_of(cells=[gap()], skipped=[{"service": "step-ca", "reason": "no file", "drills": 1}]),
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


EXISTING, POINT, AUDIT = (
    {"drills": {"origin": "existing"}},
    {"point": 1},
    {"audit": "backup regime"},
)
FILES = {"check": {"name": "files", "scenarios": ["snapshot"]}}
HELD = {"name": "files below the volume", "outcome": "held", "detail": "9 files"}
OF_A_FLEET, OTHER = {**HELD, "name": f"step-ca: {HELD['name']}"}, {**HELD, "name": "answers"}
REHEARSED, REGIME = (
    run_of(drill("rehearsal"), **audited("held")),
    run_of(drill(), **audited("held")),
)
SOME = [
    gap("loki"),
    gap("loki", "rehearsal", promised=False),
    gap(origin="rehearsal", promised=False),
]
ONLY_REHEARSED = run_of(drill(checks=[OTHER]), drill("rehearsal", checks=[HELD]))
CASES = {
    # A file of the user's that forgets the drill, about existing backups, is no loophole.
    "a point, rehearsed": (REHEARSED, "existing", [POINT], "not"),
    "an audit, rehearsed": (REHEARSED, "existing", [AUDIT], "not"),
    "a point, restored": (REGIME, "existing", [POINT], "supported"),
    "an audit, restored": (REGIME, "existing", [AUDIT], "supported"),
    "a point of a procedure": (REHEARSED, "procedure", [POINT], "supported"),
    "an audit of a procedure": (REHEARSED, "procedure", [AUDIT], "supported"),
    "a finding": (run_of(drill(), **audited("broken")), "procedure", [AUDIT], "not"),
    "no audit": (run_of(drill()), "procedure", [AUDIT], "not"),
    "one of two services": (run_of(drill(), cells=SOME), "existing", [EXISTING], "partly"),
    "one of two needs": (run_of(drill()), "existing", [EXISTING, {"point": 33}], "partly"),
    "a fault of the run": (run_of(drill(), errors=["503"]), "existing", [EXISTING], "partly"),
    "the check held": (run_of(drill(checks=[HELD])), "existing", [FILES], "supported"),
    "of a fleet": (run_of(drill(checks=[OF_A_FLEET])), "existing", [FILES], "supported"),
    "another check": (run_of(drill(checks=[OTHER])), "existing", [FILES], "not"),
    "held in rehearsal": (ONLY_REHEARSED, "existing", [FILES], "not"),
    "held in some": (ONLY_REHEARSED, "procedure", [FILES], "partly"),
}


@pytest.mark.parametrize(("run", "about", "needs", "state"), CASES.values(), ids=CASES)
def test_a_clause_is_supported_by_all_that_it_needs(run, about, needs, state):
    support = support_of(run, clause(about, *needs))
    assert support.state == state
    assert run.errors == [] or support.why == "the run itself had faults"


def test_a_rehearsal_may_not_stand_in_a_clause_about_existing_backups():
    with pytest.raises(ValueError, match="of which a rehearsal says nothing"):
        clause("existing", {"drills": {"origin": "rehearsal"}})


def with_programme(run):
    promise = gap(every=86400.0, retest=1.0, target_rto=900.0, entry_sha256="00")
    del promise["reason"]
    data = run.model_dump(mode="json") | {"programme": [promise]}
    return Dossier(RunRecord.model_validate(data), digest="00" * 32)


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
        ("a: [", "line 1: expected the node content"),
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
    text = (OSCAL / "oscal_assessment-results_schema.json").read_text()
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
    said = {
        "operator": {"name": " Ada\nBerg ", "role": "on call "},
        "observers": [ada],
        "actions": [{"items": ["*"], "fix": fix}],
    }
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
    objectives = results["local-definitions"]["objectives-and-methods"]
    own = {part["id"] for one in objectives for part in one["parts"]}
    for result in results["results"]:
        observed = {one["uuid"] for one in result["observations"]}
        for finding in result["findings"]:
            assert finding["target"]["target-id"] in own
            is_satisfied = finding["target"]["status"]["state"] == "satisfied"
            assert is_satisfied == (finding["props"][0]["value"] == "supported")
            related = {one["observation-uuid"] for one in finding["related-observations"]}
            assert related and related <= observed


def test_actions_are_risks_with_a_deadline_and_proofs_expire(reviewed):
    results = assessment_results(reviewed, read_controls())["assessment-results"]["results"]
    assert {risk["deadline"] for risk in results[0]["risks"]} == {"2999-12-20T23:59:59+00:00"}
    assert all("risks" not in result for result in results[1:])
    counted = assessment_results(with_programme(run_of(drill())), clause())
    (observation,) = counted["assessment-results"]["results"][0]["observations"]
    assert observation["expires"] == (AT + timedelta(days=1)).isoformat()
    assert observation["methods"] == ["TEST"]


def test_the_same_run_gives_the_same_ids(reviewed):
    one, two = (json.dumps(assessment_results(reviewed, read_controls())) for _ in range(2))
    assert one == two
    ids = re.findall(r'"uuid": "([^"]+)"', one)
    assert len(set(ids)) == len(ids)


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
