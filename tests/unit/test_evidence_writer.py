"""Evidence and history survive crashes, and damaged files are called damaged."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest

from fixtures.evidence.history import append_history, read_history
from fixtures.evidence.record import RunRecord, schema_text
from fixtures.evidence.writer import read_evidence, write_atomically, write_evidence

HOUSE = Path(__file__).parents[2]
GOLDEN = HOUSE / "tests/report/evidence-v1.json"


@pytest.fixture
def golden() -> RunRecord:
    """A run with all five verdicts."""
    return read_evidence(GOLDEN)


def test_what_was_written_is_read(golden: RunRecord, tmp_path: Path) -> None:
    path = write_evidence(golden, tmp_path / "run")
    assert path == tmp_path / "run/evidence.json"
    assert read_evidence(path) == golden
    assert path.read_text().startswith('{\n  "schema_version": 1,')
    assert os.listdir(path.parent) == ["evidence.json"]


def test_auditors_of_the_group_may_read_it_and_nobody_else(
    golden: RunRecord, tmp_path: Path
) -> None:
    old = os.umask(0o022)
    try:
        path = write_evidence(golden, tmp_path / "run")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_torn_temporary_file_is_in_nobody_s_way(golden: RunRecord, tmp_path: Path) -> None:
    (tmp_path / ".evidence.json.0123456789ab.tmp").write_text('{"schema_ver')
    assert read_evidence(write_evidence(golden, tmp_path)) == golden


def test_a_failed_write_leaves_the_older_file(
    golden: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_evidence(golden, tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically("half", path)
    assert read_evidence(path) == golden
    assert os.listdir(tmp_path) == ["evidence.json"]


def test_a_cut_file_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(GOLDEN.read_text()[:500])
    with pytest.raises(ValueError, match=r"^evidence \S+evidence.json is damaged: "):
        read_evidence(path)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"run": "x"}'])
def test_other_json_is_no_evidence(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"is not evidence of a drill: it has no schema_version$"):
        read_evidence(path)


def test_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text('{"schema_version": 2}')
    with pytest.raises(ValueError, match=r"has schema version 2, this suite reads 1$"):
        read_evidence(path)


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    data = json.loads(GOLDEN.read_text())
    data["drills"][0]["rto"] = "soon"
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"is damaged: drills\.0\.rto: "):
        read_evidence(path)


def test_history_has_one_line_for_each_drill(golden: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_history(golden, path)
    append_history(golden, path)
    lines = read_history(path)
    assert len(lines) == 2 * len(golden.drills)
    assert lines[0].model_dump(mode="json") == {
        "run": "20261123-164012-golden",
        "begun": "2026-11-23T16:40:12Z",
        "host": "drill-host",
        "incus": "7.0.0",
        "target": "lab",
        "service": "step-ca",
        "scenario": "snapshot",
        "origin": "rehearsal",
        "verdict": "recovered",
        "rto": 2.14,
        "rpo": 3.2,
        "target_rto": 900.0,
        "variant": None,
        "only_stand_ins": [],
        "restored_bytes": 1310720,
        "restore_seconds": 0.22,
        "moving_seconds": None,
        "copied": False,
    }
    stand_in = next(line for line in lines if line.service == "grafana")
    assert (stand_in.verdict, stand_in.only_stand_ins) == ("not verified", ["grafana"])


def test_a_line_of_an_older_suite_is_read(golden: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_history(golden, path)
    old = [json.loads(line) for line in path.read_text().splitlines()]
    for line in old:
        for added in (
            "variant",
            "only_stand_ins",
            "restored_bytes",
            "restore_seconds",
            "moving_seconds",
            "copied",
        ):
            del line[added]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert [line.only_stand_ins for line in read_history(path)] == [[]] * len(golden.drills)


def test_no_history_is_empty(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none.jsonl") == []


def test_a_torn_last_line_is_reported_and_swallows_nothing(
    golden: RunRecord, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "history.jsonl"
    append_history(golden, path)
    whole = len(golden.drills)
    path.write_bytes(path.read_bytes()[:-25])
    with caplog.at_level(logging.WARNING):
        assert len(read_history(path)) == whole - 1
    assert caplog.messages == [f"history {path}: line {whole} is left out: not JSON"]
    append_history(golden, path)
    assert len(read_history(path)) == 2 * whole - 1


CASES = Path(__file__).parents[1] / "cases" / "history"
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
        '{"topic": 1}',
        "\udcff",
    ],
    ids=lambda line: line[:20].encode("unicode_escape").decode(),
)
def test_a_line_that_is_no_record_is_left_out_and_named(tmp_path: Path, line: str) -> None:
    path, told = tmp_path / "history.jsonl", list[str]()
    text = "\n".join([GOOD, line, GOOD, ""])
    path.write_bytes(text.encode(errors="surrogateescape"))
    lines = read_history(path, told.append)
    assert [one.run for one in lines] == ["r1", "r1"]
    assert [text.startswith(f"history {path}: line 2 is left out: ") for text in told] == [True]
    assert len(told[0]) < len(str(path)) + 300


def test_a_run_without_drills_adds_nothing(golden: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_history(golden.model_copy(update={"drills": []}), path)
    assert not path.exists()


def test_the_published_schema_is_current() -> None:
    published = (HOUSE / "docs/evidence.schema.json").read_text()
    assert published == schema_text(), (
        "run python -m fixtures.evidence.record > docs/evidence.schema.json"
    )
