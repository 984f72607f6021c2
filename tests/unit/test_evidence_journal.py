"""What a long run has finished is never lost, is written at linear cost, and is read back whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.scale_records import records, stock, synthetic
from fixtures.evidence import fold
from fixtures.evidence.brief import LARGE
from fixtures.evidence.html import render_summary
from fixtures.evidence.journal import JOURNAL_FILE, Journal
from fixtures.evidence.record import RunRecord
from fixtures.evidence.store import StoredDrills
from fixtures.evidence.terminal import summary_lines
from fixtures.evidence.writer import EVIDENCE_FILE, read_evidence, write_evidence
from fixtures.plugin import gathering
from fixtures.plugin.gathering import EACH, Gathered
from tests.unit.test_evidence_judge import drill as one_drill

HOUSE = Path(__file__).parents[2]

# A run that dies in the middle: as the recorder does, drill by drill, and then not at all.
DYING = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from benchmarks.scale_records import records
from fixtures.evidence.journal import Journal
from fixtures.evidence.writer import write_evidence
from fixtures.plugin.gathering import Gathered
from tests.unit.test_evidence_journal import at_work, report_of

directory, drills = Path(sys.argv[1]), int(sys.argv[2])
gathered = Gathered(SimpleNamespace(id="r"), Journal(directory, "r"))
write_evidence(at_work(gathered), directory)
for number, drill in enumerate(records(drills)):
    if gathered.take(report_of(number, drill)):
        write_evidence(at_work(gathered), directory)
os.kill(os.getpid(), signal.SIGKILL)
"""


def report_of(number: int, drill: Any) -> Any:
    """What comes from a test, or from a worker."""
    properties = [("drill", drill.model_dump_json())]
    return SimpleNamespace(when="teardown", nodeid=f"test[{number}]", user_properties=properties)


def at_work(gathered: Gathered) -> RunRecord:
    """The record of a run that goes on."""
    now = {"run": "r", "finished": None, "audits": [], "drills": gathered.drills}
    return stock().model_copy(update=now)


def gather(directory: Path, drills: int) -> tuple[Gathered, list[int]]:
    """A run of so many drills; returns the sizes of evidence.json at each of its writes."""
    gathered, sizes = Gathered(SimpleNamespace(id="r"), Journal(directory, "r")), []  # type: ignore[arg-type]
    for number, drill in enumerate(records(drills)):
        if gathered.take(report_of(number, drill)):
            sizes.append(write_evidence(at_work(gathered), directory).stat().st_size)
    return gathered, sizes


@pytest.mark.parametrize("drills", [EACH - 3, EACH + 30, LARGE + 60])
def test_after_kill_9_every_finished_drill_is_read(drills: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(drills)],
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    run = read_evidence(tmp_path / EVIDENCE_FILE)
    assert run.finished is None
    assert list(run.drills) == list(records(drills))
    assert "the run did not finish" in render_summary(run)


def test_a_line_that_the_kill_tore_is_left_out(tmp_path: Path) -> None:
    gather(tmp_path, EACH + 20)
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes()[:-9])
    run = read_evidence(tmp_path / EVIDENCE_FILE)
    assert list(run.drills) == list(records(EACH + 20))[:-1]


def test_a_killed_run_s_evidence_is_made_whole_on_request(tmp_path: Path) -> None:
    gather(tmp_path, EACH + 20)
    path = tmp_path / EVIDENCE_FILE
    assert len(json.loads(path.read_text())["drills"]) < EACH + 20
    assert fold.main([str(tmp_path)]) == 0
    assert len(json.loads(path.read_text())["drills"]) == EACH + 20
    path.write_text("{")
    assert fold.main([str(tmp_path)]) == 1
    assert path.read_text() == "{"


def test_a_damaged_journal_is_called_damaged(tmp_path: Path) -> None:
    gather(tmp_path, 3)
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes().replace(b'"rto":', b'"rtx":', 1))
    with pytest.raises(ValueError, match=r"^journal \S+drills.jsonl is damaged: "):
        read_evidence(tmp_path / EVIDENCE_FILE)


def test_the_journal_of_another_run_is_nobody_s(tmp_path: Path) -> None:
    gather(tmp_path, 3)
    journal = tmp_path / JOURNAL_FILE
    journal.write_text(journal.read_text().replace('{"run": "r"}', '{"run": "s"}'))
    write_evidence(stock().model_copy(update={"finished": None, "drills": []}), tmp_path)
    assert read_evidence(tmp_path / EVIDENCE_FILE).drills == []


def test_a_test_that_ran_again_has_one_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    first, second, other = records(3)
    journal.add_drill("one", first)
    journal.add_drill("two", other)
    journal.add_drill("one", second)
    assert list(journal.drills) == [second, other]
    write_evidence(
        stock().model_copy(update={"run": "r", "finished": None, "audits": [], "drills": []}),
        tmp_path,
    )
    assert list(read_evidence(tmp_path / EVIDENCE_FILE).drills) == [second, other]


def test_all_writes_together_are_linear(tmp_path: Path) -> None:
    written = {}
    for drills in (300, 600, 1200):
        directory = tmp_path / str(drills)
        directory.mkdir()
        _, sizes = gather(directory, drills)
        written[drills] = sum(sizes)
        assert sum(sizes[EACH:]) < 5.5 * sizes[-1]
    assert written[1200] < 2.5 * written[600] < 2.5 * 2.5 * written[300]


def test_written_after_each_drill_it_would_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GROWTH", 0.0)
    _, sizes = gather(tmp_path, 300)
    assert sum(sizes[EACH:]) > 100 * sizes[-1]


def test_the_report_keeps_the_verdict_alone(tmp_path: Path) -> None:
    gathered, report = Gathered(SimpleNamespace(id="r"), Journal(tmp_path, "r")), None  # type: ignore[arg-type]
    (drill,) = records(1)
    report = report_of(0, drill)
    assert gathered.take(report)
    assert report.user_properties == [("verdict", "recovered")]
    assert not gathered.take(report), "it brings nothing any more"


def test_a_large_run_stays_in_its_file(tmp_path: Path) -> None:
    made = synthetic(LARGE + 1)
    run = read_evidence(write_evidence(made, tmp_path))
    assert isinstance(run.drills, StoredDrills)
    assert list(run.drills) == list(made.drills)
    assert run.drills[-1:] == list(made.drills[-1:])
    again = read_evidence(write_evidence(run, tmp_path / "again"))
    assert (tmp_path / EVIDENCE_FILE).read_bytes() == (
        tmp_path / "again/evidence.json"
    ).read_bytes()
    assert len(again.drills) == LARGE + 1


def test_a_drill_is_told_alike_whole_and_in_brief(tmp_path: Path) -> None:
    made = synthetic(LARGE + 1)
    run = read_evidence(write_evidence(made, tmp_path))
    assert summary_lines(run) == summary_lines(made)


def test_a_wrong_field_of_a_large_run_is_named(tmp_path: Path) -> None:
    path = write_evidence(synthetic(LARGE + 5), tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    at = lines.index('  "drills": [\n') + 1 + 302
    lines[at] = lines[at].replace('"criticality":', '"critical":')
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"is damaged: drills\.302\.critical"):
        read_evidence(path)


def test_half_a_line_of_a_full_disk_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(tmp_path, "r1"), os.write
    journal.add_drill("a", one_drill(id="a-a-a"))
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda descriptor, data: write(descriptor, data[:40]))
        with pytest.raises(OSError, match="No space left on device"):
            journal.add_drill("b", one_drill(id="b-b-b"))
    journal.add_drill("c", one_drill(id="c-c-c"))
    assert [found.id for found in journal.drills] == ["a-a-a", "c-c-c"]
    journal.remove()
