"""The benchmarks: figures, goals, the table in docs/performance.md, the observer."""

import json
import os
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Bench, Figure, ratios
from benchmarks.fleet import recoveries
from benchmarks.observer import Change, Outage, outage_after
from benchmarks.restore import forget
from fixtures.fleet.load import load_fleet

RTO = Figure("RTO of a drill", "a script", "ratio", (0.9, 0.7, 0.75), at_most=0.8)


def test_a_figure_is_judged_by_the_statistic_that_its_goal_is_about():
    assert RTO.statistics == {"min": 0.7, "median": 0.75, "max": 0.9}
    assert RTO.met is True
    assert Figure("x", "y", "ms", (1, 60), at_most=50, judged="max").met is False
    assert Figure("x", "y", "times", (5.0, 6.0, 9.0), at_least=6).met is True
    assert Figure("x", "y", "times", (5.0, 5.9, 9.0), at_least=6).met is False
    assert Figure("x", "y", "s", (1.0,)).met is None
    assert Figure.from_json(json.loads(json.dumps(RTO.as_json()))) == RTO


def test_clients_are_timed_in_turn_and_in_changing_order():
    called, told = [], []

    def client(name, seconds):
        return lambda: called.append(name) or seconds

    bench = Bench("rto", 3, told.append)
    rounds = bench.side_by_side({"a": client("a", 1.0), "b": client("b", 2.0)}, size=7)
    assert "".join(called) == "abbaab"
    assert rounds[1] == {"size": 7, "round": 1, "a": 1.0, "b": 2.0}
    assert ratios(rounds, "a", "b") == [0.5, 0.5, 0.5]
    assert bench.samples == rounds


def test_results_are_written_whole_and_the_table_is_made_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    bench = Bench("rto", 3, lambda _: None)
    bench.figure("RTO of a drill", "a script", "ratio", (0.9, 0.7, 0.85), at_most=0.8)
    bench.sample(ours=0.9)
    figures.write(bench, datetime(2026, 11, 25), 3.21)
    results = figures.read(tmp_path)
    assert results["rto"]["samples"] == [{"ours": 0.9}]
    assert results["rto"]["command"] == "./run bench rto"
    page = figures.fill_page(f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n", results)
    row = "| rto: RTO of a drill | a script | 0.7 | 0.85 | 0.9 | ratio | 0.8 or less | **no** |"
    assert row in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_the_table_in_the_docs_is_made_from_the_results():
    with pytest.raises(ValueError, match="no place for the table"):
        figures.fill_page("nothing", {})
    page = figures.PAGE.read_text("utf-8")
    assert figures.fill_page(page, figures.read(figures.RESULTS)) == page


def test_an_outage_lasts_from_the_last_good_answer_to_the_first_good_one():
    seen = [
        Change(False, 0.1, 0.0),
        Change(True, 1.1, 0.9),
        Change(False, 5.1, 4.9),
        Change(True, 8.2, 7.9),
    ]
    assert outage_after(seen, 2.0) == Outage(4.9, 8.2)
    with pytest.raises(ValueError, match="saw no outage after 9"):
        outage_after(seen, 9.0)
    with pytest.raises(ValueError, match="saw no outage"):
        outage_after(seen[:3], 2.0)


def test_every_drill_has_a_recovery_of_the_script_or_is_told_to_have_none():
    fleet = load_fleet(figures.ROOT / "fleets" / "atlas.yaml")
    existing = "existing_backups.py::test_existing"
    recovered = {
        "restore_from_snapshot.py::test_service[loki-rehearsal]": "snapshot loki",
        f"{existing}_snapshot[step-ca-existing]": "existing_snapshot step-ca",
        f"{existing}_tarball[loki-existing]": "existing_file loki",
        "restore_from_tarball.py::test_as_new_volume[loki-rehearsal-new-volume]": "new_volume loki",
        "full_rebuild.py::test_full_rebuild_with_data[fleet-rehearsal]": "full_rebuild with",
        "restore_state_bucket.py::test_x[atlas-terraform-state-rehearsal]": "bucket -",
        "backup_regime.py::test_regime[loki]": None,
        "key_compromise.py::test_x[step-ca-rehearsal]": None,
    }
    ids = [f"drills/test_{name}" for name in recovered]
    assert [what for _, what in recoveries(fleet, ids)] == list(recovered.values())
    with pytest.raises(ValueError, match="is no drill"):
        list(recoveries(fleet, ["nothing"]))


def test_what_is_forgotten_is_read_from_the_disk_again():
    def in_memory(file):
        argv = ["fincore", "--bytes", "--noheadings", "--output=RES", str(file)]
        return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)

    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        file = Path(name) / "within" / "file"
        file.parent.mkdir()
        with file.open("wb") as stream:
            stream.write(bytes(1_048_576))
            os.fsync(stream.fileno())
        assert in_memory(file) == 1_048_576
        forget(file)
        assert in_memory(file) == 0
        assert file.stat().st_size == 1_048_576
