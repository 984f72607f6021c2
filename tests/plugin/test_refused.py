"""A refusal of the guard ends the run, wherever it was raised; no drill makes a verdict of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fixtures
from fixtures.errors import DrillError, GuardRefused
from fixtures.evidence.record import STOPPED_BY_GUARD
from fixtures.evidence.verdict import Verdict
from fixtures.recovery.checks import Checks
from fixtures.recovery.drill import remove_all, verdict_of
from tests.plugin.test_auditing import CONFTEST

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import contextlib
from concurrent.futures import ThreadPoolExecutor
import pytest
from fixtures.errors import DrillError, GuardRefused
pytestmark = pytest.mark.audit("backup regime")

def refuse():
    raise GuardRefused("the guard refused DELETE /1.0/instances/x: planted")

def because_of_it():
    try:
        refuse()
    except GuardRefused:
        raise RuntimeError("something else") from None

WAYS = {
    "body": refuse,
    "thread": lambda: ThreadPoolExecutor(1).submit(refuse).result(),
    "chained": because_of_it,
}

@pytest.fixture
def place(request):
    way = request.config.getoption("--backups-way")
    if way == "fixture":
        refuse()
    yield way
    if way == "teardown":
        refuse()

def test_regime(audit, place):
    WAYS.get(place, lambda: None)()
"""
OPTION = """
def pytest_addoption(parser):
    parser.addoption("--backups-way")
"""


@pytest.fixture
def refused(tmp_path):
    """Runs audits in a pytest of its own, the guard refusing something in the first of them."""

    def run(way, *options):
        drills = tmp_path / "drills"
        drills.mkdir()
        (tmp_path / "conftest.py").write_text(CONFTEST + OPTION)
        (drills / "test_audit.py").write_text(TESTS)
        argv = [sys.executable, "-m", "pytest", "drills", f"--rootdir={tmp_path}"]
        argv += ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
        argv += [f"--reports={tmp_path}/reports", f"--backups-way={way}", *options]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        (evidence,) = (tmp_path / "reports").glob("*/evidence.json")
        return done, json.loads(evidence.read_text())

    return run


@pytest.mark.parametrize(
    "way, workers",
    [*((way, ()) for way in ("body", "thread", "chained", "fixture", "teardown"))]
    + [("body", ("-n", "2"))],
)
def test_it_ends_the_run_at_once(refused, way, workers, tmp_path):
    done, evidence = refused(way, *workers)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout
    words = f"{STOPPED_BY_GUARD}the guard refused DELETE /1.0/instances/x: planted"
    assert words in evidence["errors"]
    assert 1 <= len(evidence["audits"]) <= (2 if workers else 1), "the others were made as well"
    sentence = words[0].upper() + words[1:]
    assert sentence in " ".join(done.stdout.split())
    (page,) = (tmp_path / "reports").glob("*/report.html")
    band = page.read_text().partition('class="dr-sentence">')[2].partition("</p>")[0]
    assert sentence in band
    assert "verdict of the audit: not verified" in done.stdout
    assert not list((tmp_path / "reports").glob("*/.refused"))


def test_no_branch_for_the_errors_of_a_drill_takes_it():
    refusal = GuardRefused("planted")
    assert not isinstance(refusal, DrillError)

    def refuse():
        raise refusal

    checks = Checks(drill=None, kept=[])
    for act in (lambda: checks.record_proofs(refuse), lambda: remove_all("x", [refuse])):
        with pytest.raises(GuardRefused):
            act()
    assert checks.kept == []
    for before in (True, False):
        verdict, reason, _ = verdict_of(refusal, before_the_loss=before)
        assert verdict is Verdict.NOT_VERIFIED
        assert reason == "the run was stopped: planted"


def test_nothing_catches_everything():
    """A branch for any exception would take a refusal as well; these let it through or tell it."""
    found = {
        f"{file.relative_to(ROOT)}"
        for file in Path(fixtures.__file__).parent.rglob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith(("except Exception", "except (Exception", "except:"))
    }
    assert found == {
        "fixtures/plugin/after.py",  # the drill fails by it; `take_refusals` looks behind it
        "fixtures/plugin/report.py",  # after an interruption; `take_refusals` looks behind it
    }
