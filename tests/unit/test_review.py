"""What people add to a run: append-only, next to evidence that stays as it is, open until green."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from rich.console import Console

from fixtures.errors import UsageError
from fixtures.evidence.controls import SHIPPED
from fixtures.evidence.html import render_review, render_summary
from fixtures.evidence.record import OpenAction, RunRecord
from fixtures.evidence.review import (
    ADDED_LATER,
    CONTROLS_PAGE,
    REVIEW_FILE,
    ReviewText,
    add_entry,
    grouped,
    items_of,
    open_actions,
    read_review,
)
from fixtures.evidence.writer import append_history, write_evidence
from fixtures.plugin import review as command
from fixtures.plugin.options import DEFAULT_FLEET
from fixtures.plugin.review import write_controls
from tests.unit.test_evidence_judge import PASSING, RUN

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DUE = date(2026, 12, 20)
LATE = {"rto": 1000.0, "verdict": "recovered late"}
INCUS = {"target": "unix", "version": "7.0.2", "server_name": "s", "pool": "p"}
INCUS |= {"pool_driver": "dir", "kernel": "6"}
BACKUP = {"kind": "snapshot", "name": "b", "source": "atlas", "taken_at": NOW, "seconds": 1.0}
CELL = "step-ca/snapshot/existing"
REHEARSAL = {"service": "step-ca", "scenario": "snapshot", "origin": "rehearsal", "reason": "-k"}
AUDIT = {"id": "a", "subject": "loki", "topic": "backup regime", "begun": NOW, "seconds": 1}
BROKEN = {"name": "age", "outcome": "broken", "detail": "too old"}


def run_of(name="r1", day=1, audits=(), fleet=RUN["fleet"], **drill):
    """A run of one existing drill on target unix, at noon of a day in November."""
    begun = datetime(2026, 11, day, 12, tzinfo=UTC)
    facts = {**PASSING, "origin": "existing", "begun": begun, "rpo": 9.0, "backup": BACKUP, **drill}
    about = {"run": name, "begun": begun, "finished": begun, "incus": INCUS, "fleet": fleet}
    cells = [{**REHEARSAL, "promised": False}]
    made = {"drills": [facts], "not_verified": cells, "audits": list(audits)}
    return RunRecord.model_validate({**RUN, **about, **made})


def person(name):
    return {"name": name, "role": "IT"}


def text_of(**said):
    return ReviewText.model_validate(said)


def fix(*items, by=DUE, owner="Ada Berg"):
    return {"items": list(items), "fix": {"owner": owner, "by": by, "what": "export again"}}


def accept(*items, until=DUE):
    return {"items": list(items), "accept": {"owner": "Bo Dahl", "until": until, "why": "no room"}}


def reviewed(reports, run, *actions, **said):
    """Write a run below `reports`, append it to the history, and review it."""
    write_evidence(run, reports / run.run)
    append_history(run, reports / "history.jsonl")
    return added(reports / run.run, run, actions=actions, **said)


def added(directory, run, four_eyes=False, sign=None, **said):
    text = text_of(**said)
    return add_entry(directory, run, text, user="root", now=NOW, four_eyes=four_eyes, sign=sign)


@pytest.fixture
def late(tmp_path):
    """A run that recovered late, with its evidence in tmp_path."""
    run = run_of(**LATE)
    write_evidence(run, tmp_path)
    return run


def test_entries_are_appended_beside_the_evidence_and_the_newest_word_counts(tmp_path, late):
    before = (tmp_path / "evidence.json").read_bytes()
    added(tmp_path, late, actions=[fix(CELL)], operator=person("Ada Berg"), observations=["one"])
    first = (tmp_path / REVIEW_FILE).read_bytes()
    later = {"actions": [accept(CELL)], "lead": person("Bo Dahl"), "observations": ["two"]}
    review = added(tmp_path, late, **later)
    assert (tmp_path / REVIEW_FILE).read_bytes().startswith(first)
    assert review == read_review(tmp_path)
    assert (review.last("operator").name, review.last("lead").name) == ("Ada Berg", "Bo Dahl")
    assert review.every("observations") == ["one", "two"]
    assert review.decided[CELL].kind == "accept"
    assert (tmp_path / "evidence.json").read_bytes() == before
    assert review.entries[0].evidence_sha256 == hashlib.sha256(before).hexdigest()


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lambda lines: lines[1:], "line 1 does not follow the line before it"),
        (lambda lines: [lines[0].replace(b"one", b"two"), lines[1]], "line 2 does not follow"),
        (lambda lines: [lines[1], lines[0]], "line 1 does not follow"),
        (lambda lines: [b"{}", lines[1]], "line 1 is no entry"),
        (lambda lines: [lines[0][:40], lines[1]], "line 1 is no entry"),
        (lambda lines: [lines[0].replace(b'"run"', b'"ran"'), lines[1]], "line 1: "),
    ],
)
def test_a_changed_review_is_named(tmp_path, late, spoil, seen):
    for word in ("one", "again"):
        added(tmp_path, late, observations=[word])
    file = tmp_path / REVIEW_FILE
    file.write_bytes(b"\n".join(spoil(file.read_bytes().splitlines())) + b"\n")
    with pytest.raises(ValueError, match=seen):
        read_review(tmp_path)


def test_a_review_of_other_evidence_is_named(tmp_path, late):
    added(tmp_path, late, observations=["one"])
    write_evidence(run_of(), tmp_path)
    with pytest.raises(ValueError, match="speaks of other evidence"):
        read_review(tmp_path)


def test_two_at_once_keep_the_chain(tmp_path, late):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: added(tmp_path, late, observations=[f"note {n}"]), range(24)))
    assert len(read_review(tmp_path).entries) == 24


def test_a_key_signs_each_entry(tmp_path, late):
    seen = []

    def sign(data):
        seen.append(data)
        return {"payload": len(data)}

    assert added(tmp_path, late, basis="BIA 2026", sign=sign).signed == 1
    line = json.loads((tmp_path / REVIEW_FILE).read_bytes())
    assert line["envelope"] == {"payload": len(seen[0])}
    assert json.loads(seen[0]) == line["entry"]
    added(tmp_path, late, basis="none")
    again = read_review(tmp_path)
    assert (again.signed, again.envelopes) == (1, ({"payload": len(seen[0])}, None))
    assert again.texts[0] == seen[0]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"actions": [fix("grafana/snapshot/existing")]}, "nothing of this run that is no pass"),
        ({"actions": [fix(CELL, by=NOW.date() - timedelta(days=1))]}, "is in the past"),
        ({"reviewer": {"name": " \n", "role": "IT"}}, "at least 1 character"),
        ({"reviewer": {"name": "Bo", "role": "IT"}}, "1 items are not decided: step-ca/snapshot"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(tmp_path, late, said, seen):
    with pytest.raises((UsageError, ValueError), match=seen):
        added(tmp_path, late, **said)
    assert not (tmp_path / REVIEW_FILE).exists()


@pytest.mark.parametrize(
    ("operator", "reviewer", "seen"),
    [
        ("Ada Berg", "ada  berg", "ada  berg is the operator too"),
        ("Ada Berg", "Root", "Root is the operator too"),
        (None, "Bo Dahl", "needs the name of the operator"),
    ],
)
def test_four_eyes(tmp_path, late, operator, reviewer, seen):
    said = {"actions": [fix(CELL)], "reviewer": person(reviewer)}
    if operator:
        said["operator"] = person(operator)
    with pytest.raises(UsageError, match=seen):
        added(tmp_path, late, four_eyes=True, **said)
    assert added(tmp_path, late, **said).last("reviewer")


def test_another_person_reviews_who_may_not_become_the_operator_later(tmp_path, late):
    ada, bo = person("Ada Berg"), person("Bo Dahl")
    said = {"actions": [fix("*")], "operator": ada, "reviewer": bo}
    assert not added(tmp_path, late, four_eyes=True, **said).undecided(late)
    for said in ({"operator": bo}, {"reviewer": ada}):
        with pytest.raises(UsageError, match="is the operator too"):
            added(tmp_path, late, four_eyes=True, **said)
    assert len(read_review(tmp_path).entries) == 1


def test_items_are_all_that_is_no_pass_but_what_was_not_selected_and_the_follow_up(golden):
    keys = [item.key for item in items_of(golden)]
    assert keys and len(keys) == len(set(keys))
    cell = {**REHEARSAL, "origin": "existing"}
    cells = [
        {**cell, "service": "a", "reason": "not selected in this run"},
        {**cell, "service": "b", "reason": "no directory"},
        {**cell, "service": "c", "reason": "no such recovery", "promised": False},
    ]
    audits = [{**AUDIT, "checks": [BROKEN], "topic": x} for x in ("backup regime", "follow-up")]
    run = RunRecord.model_validate({**RUN, "not_verified": cells, "audits": audits})
    found = {item.key: item.reason for item in items_of(run)}
    existing = {f"{x}/snapshot/existing" for x in "abc"}
    assert found.keys() & existing == {"b/snapshot/existing"}
    assert {key: why for key, why in found.items() if key.startswith("audit/")} == {
        "audit/loki/backup regime": "age: too old"
    }


def test_what_the_runbook_did_not_recover_is_an_item_until_it_does(tmp_path):
    """With the engine's cell green: who signs off has decided on the runbook, too."""
    for name, day in (("runbook", 1), ("person", 2)):
        red = run_of(name, day, procedure=name, section="Restore", **LATE)
        run = red.model_copy(update={"drills": [*run_of().drills, *red.drills]})
        key = f"step-ca/snapshot/{name}"
        assert [item.key for item in items_of(run)] == [key]
        reviewed(tmp_path / name, run, fix("step-ca/*"))
        assert open_of(tmp_path / name)[0][0].item == key
        append_history(run_of("engine", 3), tmp_path / name / "history.jsonl")
        assert len(open_of(tmp_path / name)[0]) == 1
        append_history(run_of("again", 4, procedure=name), tmp_path / name / "history.jsonl")
        assert open_of(tmp_path / name)[0] == []


def open_of(reports, fleet=RUN["fleet"], **given):
    warnings = []
    found = open_actions(reports, fleet, warnings.append, now=NOW, **given)
    return found, warnings


@pytest.fixture
def fixed(tmp_path):
    """Reports with a run in which a fix of CELL was decided."""
    reviewed(tmp_path, run_of("r1", 1, **LATE), fix(CELL))
    return tmp_path


def test_an_open_action_travels_until_a_green_drill_of_its_cell(fixed):
    ((action,), _) = open_of(fixed)
    assert (action.item, action.run, action.due, action.target) == (CELL, "r1", DUE, "unix")
    assert open_of(fixed, fleet="another") == ([], [])
    append_history(run_of("r2", 2, **LATE), fixed / "history.jsonl")
    assert len(open_of(fixed)[0]) == 1
    append_history(run_of("r3", 3), fixed / "history.jsonl")
    assert [a.closed for a in open_of(fixed, newest="r3")[0]] == [True]
    assert open_of(fixed)[0] == []
    assert open_of(fixed, newest="r4")[0] == []


GREEN, RED = run_of("r2", 2), run_of("r2", 2, variant="copy", **LATE)
in_2030 = GREEN.drills[0].model_copy(update={"begun": datetime(2030, 1, 1, tzinfo=UTC)})
NO_REPAIR = {
    "earlier": run_of("r0", 1),
    "rehearsal": run_of("r2", 2, origin="rehearsal"),
    "service": run_of("r2", 2, service="loki"),
    "scenario": run_of("r2", 2, scenario="tarball"),
    "source": run_of("r2", 2, backup={**BACKUP, "source": "/elsewhere"}),
    "sample": run_of("r2", 2, variant="sample-1"),
    "as-of": GREEN.model_copy(update={"as_of": NOW}),
    "target": GREEN.model_copy(update={"incus": None}),
    "procedure": run_of("r2", 2, procedure="runbook"),
    "clock too fast": GREEN.model_copy(update={"drills": [in_2030]}),
    "one red variant": GREEN.model_copy(update={"drills": [*GREEN.drills, *RED.drills]}),
}


@pytest.mark.parametrize("run", NO_REPAIR.values(), ids=NO_REPAIR)
def test_no_other_green_drill_closes_it(fixed, run):
    append_history(run, fixed / "history.jsonl")
    assert [action.closed for action in open_of(fixed)[0]] == [False]


def test_a_later_decision_takes_the_place_of_an_earlier_and_shows_how_often(fixed):
    later = DUE + timedelta(days=30)
    reviewed(fixed, run_of("r2", 2, **LATE), fix(CELL, by=later))
    ((action,), _) = open_of(fixed)
    assert (action.run, action.due, action.decisions) == ("r1", later, 2)


def test_an_audit_in_order_closes_its_action(tmp_path):
    def run(name, day, outcome):
        begun = datetime(2026, 11, day, tzinfo=UTC)
        check = {**BROKEN, "outcome": outcome}
        return run_of(name, day, [{**AUDIT, "checks": [check], "begun": begun}])

    reviewed(tmp_path, run("r1", 1, "broken"), accept("audit/*"))
    assert [action.kind for action in open_of(tmp_path)[0]] == ["accept"]
    append_history(run("r2", 2, "held"), tmp_path / "history.jsonl")
    assert open_of(tmp_path)[0] == []


def test_a_damaged_review_is_a_warning(fixed):
    (fixed / "r1" / REVIEW_FILE).write_bytes(b"{}\n")
    found, (warning,) = open_of(fixed)
    assert found == [] and "line 1 is no entry" in warning


def test_the_report_shows_open_actions(golden):
    facts = {"run": "r0", "kind": "fix", "owner": "Ada", "what": "export"}
    actions = [
        OpenAction.model_validate({**facts, "due": golden.begun.date(), **more})
        for more in (
            {"item": "a/snapshot/existing"},
            {"item": "b/snapshot/existing", "due": date(2020, 1, 1), "decisions": 3},
            {"item": "c/snapshot/existing", "closed": True},
        )
    ]
    page = render_summary(golden.model_copy(update={"open_actions": actions}))
    for words in ("Open actions", "to be repaired", "overdue", "decided 3 times", "closed by this"):
        assert words in page
    assert "Open actions" not in render_summary(golden)


YAML = """
operator: {name: Ada Berg, role: on call}
lead: {name: Cy Ek, role: SRE}
observers: []
reviewer: {name: Bo Dahl, role: head of IT}
basis: BIA 2026, risk 7
observations: [the disk was slow]
revisions: [runbook, section 3]
filed: {where: "s3://audit/2026", until: 2031-11-30}
actions:
  - items: ["*"]
    fix: {owner: Ada Berg, by: 2999-12-20, what: export again}
"""


def typed(tmp_path, text, *options):
    file = tmp_path / "said.yaml"
    file.write_text(text)
    return command.write_review([str(tmp_path / "r1"), f"--from={file}", *options])


@pytest.fixture
def fleet(tmp_path):
    """A fleet file with the name of the runs here."""
    file = tmp_path / "fleet.yaml"
    text = DEFAULT_FLEET.read_text().replace("name: atlas\n", "name: small\nfour_eyes: true\n", 1)
    file.write_text(text)
    return file


@pytest.fixture
def small(tmp_path):
    """A run of that fleet that recovered late, as r1."""
    run = run_of(fleet="small", **LATE)
    write_evidence(run, tmp_path / "r1")
    return run


def test_a_file_is_recorded_and_its_page_made(tmp_path, fleet, small, capsys):
    assert typed(tmp_path, YAML, f"--fleet={fleet}") == 0
    page = (tmp_path / "r1" / "review.html").read_text()
    for words in ("Ada Berg", "Bo Dahl", "the disk was slow", "s3://audit/2026", "export again"):
        assert words in page
    assert "review of run r1" in capsys.readouterr().out
    own = tmp_path / "own.yaml"
    own.write_text(SHIPPED.read_text().replace("NIST SP 800-34", "Ours"))
    assert write_controls([str(tmp_path / "r1"), f"--controls={own}"]) == 0
    files = {path.name for path in (tmp_path / "r1").iterdir()}
    assert files == {"evidence.json", *ADDED_LATER}, "no seal of the run covers them"


@pytest.mark.parametrize(
    ("text", "status", "seen"),
    [
        ("observations: [slow]\n", 1, "not decided: step-ca/snapshot/existing (recovered late)"),
        ("observation: [slow]\n", 2, "observation: Extra inputs"),
        ("lead: [\n", 2, "said.yaml:2:1: not YAML"),
        ("actions: [{items: ['*']}]\n", 2, "needs `fix` or `accept`"),
        (YAML.replace("Bo Dahl", "Ada Berg"), 2, "is the operator too"),
    ],
)
def test_what_is_typed_is_answered(tmp_path, fleet, small, capsys, text, status, seen):
    assert typed(tmp_path, text, f"--fleet={fleet}") == status
    assert seen in capsys.readouterr().out
    assert (tmp_path / "r1" / REVIEW_FILE).exists() == (status < 2)


def test_no_run_another_fleet_and_no_terminal(tmp_path, fleet, small, capsys, monkeypatch):
    def said(*arguments):
        assert command.write_review(list(arguments)) == 2
        return capsys.readouterr().out

    run = str(tmp_path / "r1")
    assert "there is no run nothing" in said("nothing", f"--reports={tmp_path}")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "give the review: --from=FILE" in said(run, f"--fleet={fleet}")
    write_evidence(run_of(**LATE), tmp_path / "r1")
    assert "is of fleet small" in said(run, f"--fleet={fleet}")
    write_evidence(small.model_copy(update={"finished": None}), tmp_path / "r1")
    assert "has not ended" in said(run, "--page")


def test_all_of_it_is_asked_on_a_terminal(tmp_path, late):
    answers = iter(
        ["Ada Berg", "", "on call", "Cy Ek", "SRE", "Di Fox", "auditor", "", "BIA 2026"]
        + ["slow disk", "", "", "repair", "fix", "Ada Berg", "export again", "2020-01-01", "soon"]
        + ["2999-12-20"]
        + ["", "Bo Dahl", "head of IT"]
    )
    text = command.ask(late, read_review(tmp_path), lambda _: next(answers), Console(quiet=True))
    assert next(answers, None) is None
    assert [person.name for person in text.observers] == ["Di Fox"]
    assert (text.operator.role, text.reviewer.name) == ("on call", "Bo Dahl")
    assert text.actions[0].decision.due == date(2999, 12, 20)
    review = add_entry(tmp_path, late, text, user="root", four_eyes=True)
    assert not review.undecided(late)


def test_what_was_typed_and_refused_is_kept(tmp_path, monkeypatch, late):
    monkeypatch.chdir(tmp_path)
    text = text_of(actions=[fix(CELL)], observations=["slow: disk"])
    with (
        pytest.raises(UsageError, match="no good.*\n.*--from=review-r1.yaml"),
        command.kept_answers(text, late, is_typed=True),
    ):
        raise UsageError("no good")
    assert command.read_text(tmp_path / "review-r1.yaml") == text
    with pytest.raises(UsageError), command.kept_answers(text, late, is_typed=False):
        raise UsageError("no good")


def full_disk(path, *_):
    raise OSError(28, "No space left on device", str(path))


def test_what_was_typed_is_not_lost_on_a_full_disk(tmp_path, monkeypatch, late):
    text = text_of(observations=["slow: disk"])
    monkeypatch.chdir(tmp_path)
    for seen in ("review-r1.yaml", "slow: disk"):
        with (
            pytest.raises(UsageError, match=f"(?s)No space.*nothing was written\n.*{seen}"),
            command.kept_answers(text, late, is_typed=True),
        ):
            full_disk(tmp_path)
        monkeypatch.setattr(command, "write_atomically", full_disk)


def test_an_entry_whose_page_could_not_be_written_is_said_to_be_there(
    tmp_path, fleet, small, capsys, monkeypatch
):
    monkeypatch.setattr(command, "write_atomically", full_disk)
    assert typed(tmp_path, YAML, f"--fleet={fleet}") == 2
    page = tmp_path / "r1" / "review.html"
    assert f"{page}: No space left on device; the entry was written" in capsys.readouterr().out
    assert (tmp_path / "r1" / REVIEW_FILE).exists()


def test_a_wrong_key_is_said_before_anything_is_asked(tmp_path, fleet, small, monkeypatch):
    monkeypatch.setattr(command, "_text", lambda *_: pytest.fail("asked"))
    arguments = [str(tmp_path / "r1"), f"--fleet={fleet}", f"--seal-key={fleet}"]
    assert command.write_review(arguments) == 2


def test_a_review_makes_the_pages_again_that_rest_on_it(tmp_path, fleet, small):
    assert write_controls([str(tmp_path / "r1")]) == 0
    before = (tmp_path / "r1" / CONTROLS_PAGE).read_text()
    assert typed(tmp_path, YAML, f"--fleet={fleet}") == 0
    after = (tmp_path / "r1" / CONTROLS_PAGE).read_text()
    assert after.count("✓ yes") > before.count("✓ yes")


def test_equal_findings_are_one_row(golden, tmp_path):
    write_evidence(golden, tmp_path)
    rows = grouped(golden, read_review(tmp_path))
    assert sum(len(row.items) for row in rows) == len(items_of(golden))
    page = render_review(golden, read_review(tmp_path), "00")
    assert page.count("<i>not decided</i>") == len(rows)
