"""Evidence and history survive crashes, and damaged files are called damaged."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.evidence.html import render_summary
from fixtures.evidence.judge import judge_run
from fixtures.evidence.record import SkipRecord, Verdict, schema_text
from fixtures.evidence.writer import (
    EVIDENCE_FILE,
    JOURNAL_FILE,
    RunLine,
    add_to_journal,
    append_history,
    begin_journal,
    history_lines,
    read_evidence,
    read_history,
    read_lines,
    run_line,
    write_evidence,
)
from fixtures.plugin.report import ResultCollector
from tests.unit.test_evidence_judge import drill, run

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/report/evidence-v1.json"
SAMPLE = ROOT / "tests/report/evidence-2026-11.json"


def test_what_was_written_is_read(golden, tmp_path):
    skips = [SkipRecord(service="grafana", reason="not to be had", drills=2)]
    golden = golden.model_copy(update={"skipped": skips})
    path = write_evidence(golden, tmp_path / "run")
    assert path == tmp_path / "run/evidence.json"
    assert read_evidence(path) == golden
    lines = path.read_text().splitlines()
    assert lines[:2] == ["{", '  "schema_version": 1,']
    first = lines.index('  "drills": [') + 1
    drills = [json.loads(line.rstrip(",")) for line in lines[first : first + len(golden.drills)]]
    assert [found["id"] for found in drills] == [drill.id for drill in golden.drills]


def test_evidence_of_an_older_suite_is_read_and_judged_alike():
    """The suite of November 2026 had imitations, and neither skips nor warnings."""
    sample = read_evidence(SAMPLE)
    assert (len(sample.drills), len(sample.audits)) == (62, 9)
    assert sum(drill.stand_in for drill in sample.drills) == 16
    assert judge_run(sample) is Verdict.NOT_VERIFIED
    assert "46 of 62 drills recovered within target; 16 not verified" in render_summary(sample)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOLDEN.read_text()[:500], r"^evidence \S+evidence.json is damaged: "),
        ("[]", r"is not evidence of a drill: it has no schema_version$"),
        ('{"run": "x"}', r"is not evidence of a drill: it has no schema_version$"),
        ('{"schema_version": 3}', r"has schema version 3, this suite reads 1 and 2$"),
        (
            GOLDEN.read_text().replace('"rto": 2.14', '"rto": "soon"', 1),
            r"is damaged: drills\.0\.rto: ",
        ),
    ],
    ids=["cut", "a list", "other JSON", "another version", "a wrong field"],
)
def test_a_file_that_is_no_evidence_is_called_so(content, message, tmp_path):
    path = tmp_path / "evidence.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_evidence(path)


# A run that dies in the middle: as the recorder does, drill by drill, and then not at all.
DYING = """
import os, signal, sys
from pathlib import Path
from tests.unit.test_evidence_writer import begin, end_test
gathered = begin(Path(sys.argv[1]))
for number in range(60):
    end_test(gathered, number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def begin(directory):
    """Begin a run as the recorder does."""
    begin_journal("r1", directory)
    write_evidence(run(finished=None, drills=[]), directory)
    return ResultCollector(SimpleNamespace(id="r1", directory=directory))


def end_test(gathered, number, **changed):
    """Bring the record of a drill that ended, as a test's report does."""
    record = drill(id=f"drill-{number}", **changed)
    properties = [("drill", record.model_dump_json())]
    report = SimpleNamespace(
        when="teardown", skipped=False, nodeid=f"t[{number}]", user_properties=properties
    )
    gathered.take(report)
    return report


def ids(directory):
    return [drill.id for drill in read_evidence(directory / EVIDENCE_FILE).drills]


def test_after_kill_9_every_drill_that_ended_is_read_but_one_that_the_kill_tore(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    whole = [f"drill-{number}" for number in range(60)]
    assert ids(tmp_path) == whole
    found = read_evidence(tmp_path / EVIDENCE_FILE)
    assert found.finished is None and "the run did not finish" in render_summary(found)
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes()[:-9])
    assert ids(tmp_path) == whole[:-1]


@pytest.mark.parametrize("damage", ['"rtx":', '"rto" '])
def test_a_damaged_journal_is_called_damaged(tmp_path, damage):
    end_test(begin(tmp_path), 1)
    journal = tmp_path / JOURNAL_FILE
    journal.write_text(journal.read_text().replace('"rto":', damage, 1))
    with pytest.raises(ValueError, match=r"^journal \S+drills.jsonl is damaged: "):
        read_evidence(tmp_path / EVIDENCE_FILE)


def test_the_journal_of_another_run_is_not_read(tmp_path):
    begin_journal("another", tmp_path)
    add_to_journal("t[1]", drill(), tmp_path)
    write_evidence(run(finished=None, drills=[]), tmp_path)
    assert ids(tmp_path) == []


def test_a_test_that_ran_again_has_one_record_and_its_report_the_verdict_alone(tmp_path):
    gathered = begin(tmp_path)
    end_test(gathered, 1)
    end_test(gathered, 2)
    report = end_test(gathered, 1, rto=6.0)
    read = read_evidence(tmp_path / EVIDENCE_FILE).drills
    assert read == list(gathered.drills.values())
    assert [(found.id, found.rto) for found in read] == [("drill-1", 6.0), ("drill-2", 5.0)]
    assert report.user_properties == [("verdict", "recovered")]
    gathered.take(report)
    assert len((tmp_path / JOURNAL_FILE).read_text().splitlines()) == 4


def test_history_has_one_line_for_each_drill_and_survives_a_torn_one(golden, tmp_path, caplog):
    path, whole = tmp_path / "history.jsonl", len(golden.drills)
    assert list(read_lines(path)) == []
    append_history(golden, path, "00")
    *lines, last = read_lines(path)
    assert last == run_line(golden, "00")
    assert [x.model_copy(update={"previous": None}) for x in lines] == history_lines(golden)
    assert (lines[0].verdict, lines[0].rto, lines[0].copied) == ("recovered", 2.14, False)
    assert '"begun": "2026-11-23T16:40:12Z"' in path.read_text()
    *drills, _ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(drills)[:-25])
    with caplog.at_level(logging.WARNING):
        assert len(list(read_history(path))) == whole - 1
    assert caplog.messages == [f"history {path}: line {whole} is left out: not JSON"]
    append_history(golden.model_copy(update={"drills": []}), path, "00")
    assert len(list(read_history(path))) == whole - 1
    *_, nothing = read_lines(path)
    assert isinstance(nothing, RunLine) and (nothing.run, nothing.drills) == (golden.run, 0)


def test_each_line_holds_the_sha256_of_what_stands_before_it(golden, tmp_path):
    """From the last line that has one on: lines of older suites, and torn ones, are in it too."""
    path, old = tmp_path / "history.jsonl", b'{"run": "old"}\n{"torn'
    path.write_bytes(old)
    last = append_history(golden, path, "00")
    lines = path.read_bytes().splitlines(keepends=True)[2:]
    before = [old + b"\n", *lines]
    for text, line in zip(before, lines, strict=False):
        assert json.loads(line)["previous"] == hashlib.sha256(text).hexdigest()
    assert last == hashlib.sha256(lines[-1]).hexdigest()
    assert json.loads(lines[-1])["evidence"] == "00"


CASES = ROOT / "tests/cases/history"
GOOD = (CASES / "torn.jsonl").read_text().splitlines()[0]


@pytest.mark.parametrize(
    "line",
    [
        '"str"',
        '{"run": "x"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "null",
        "17",
        "[]",
        (CASES / "torn.jsonl").read_text().splitlines()[1],
        (CASES / "newer-field.jsonl").read_text().strip(),
        GOOD.replace('"rto": 1.0', '"rto": NaN'),
        GOOD.replace('"rto": 1.0', '"rto": 1e999'),
        GOOD.replace("2026-11-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        GOOD.replace("2026-11-01T00:00:00Z", "9999-12-31T23:59:59-14:00"),
        GOOD.replace('"recovered"', '"splendid"'),
        "x" * (3 << 20),
        "\0\0\0",
        "\udcff",
    ],
    ids=lambda line: line[:20].encode("unicode_escape").decode(),
)
def test_a_line_that_is_no_record_is_left_out_and_named(tmp_path, line):
    path, warnings = tmp_path / "history.jsonl", list[str]()
    older = GOOD.replace('"rpo"', '"only_stand_ins": ["grafana"], "rpo"')
    text = "\n".join([GOOD, line, older, ""])
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert [found.run for found in read_history(path, warnings.append)] == ["r1", "r1"]
    (warning,) = warnings
    assert warning.startswith(f"history {path}: line 2 is left out: ")
    assert len(warning) < len(str(path)) + 300


def test_the_published_schema_is_current():
    published = (ROOT / "docs/evidence.schema.json").read_text()
    assert published == schema_text(), (
        "run python -m fixtures.evidence.record > docs/evidence.schema.json"
    )
