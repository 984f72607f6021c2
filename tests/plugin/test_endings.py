"""A run that was ended early says so in its evidence; a refusal of the guard ends it at once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fixtures
from fixtures.errors import DrillError, GuardRefused
from fixtures.evidence.record import STOPPED_BY_GUARD, Verdict
from fixtures.recovery.checks import Checks
from fixtures.recovery.drill import Drill, remove_all, verdict_of
from tests.faults.conftest import WITH_SIGNALS
from tests.plugin.conftest import ROOT, evidence_of, run_pytest

PLUGINS = {
    # Between opening a file and holding it: it is gone at once, unclosed.
    "interrupted": """
import os
def pytest_runtest_setup(item):
    open(os.devnull)
    raise KeyboardInterrupt
""",
    # At an instruction that has no line number, which pytest cannot show.
    "lineless": """
def interrupt():
    raise KeyboardInterrupt
interrupt.__code__ = interrupt.__code__.replace(co_linetable=b"")
def pytest_runtest_setup(item):
    interrupt()
""",
    # As where the disk is full for a moment.
    "internal_error": """
def pytest_runtest_logstart():
    raise OSError("planted defect")
""",
}


def ended(reports, plugin):
    (reports / f"{plugin}.py").write_text(PLUGINS[plugin])
    options = ("--incus=unix", f"--reports={reports}", "-p", plugin)
    return run_pytest(*options, PYTHONPATH=f"{reports}:{ROOT}"), evidence_of(reports)


@pytest.mark.parametrize("plugin", ["interrupted", "lineless"])
def test_ctrl_c_at_any_instruction_is_no_traceback(tmp_path, plugin):
    done, record = ended(tmp_path, plugin)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "KeyboardInterrupt" in done.stdout
    assert (record["interrupted"], record["errors"]) == (True, [])


def test_ctrl_c_while_the_engine_is_loaded_is_silent():
    """Ctrl-C as its first module is looked for."""
    late = "import os, signal, sys; sys.addaudithook(lambda event, seen: "
    late += "event == 'import' and seen[0] == 'fixtures.errors' and os.kill(os.getpid(), 2)); "
    late += "import pytest; pytest.main(['drills', '--plan'])"
    argv = [*WITH_SIGNALS, sys.executable, "-c", late]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_an_error_of_pytest_itself_is_an_error_of_the_run(tmp_path):
    """Of the drills that it kept from being made, or from being recorded, nothing is known."""
    done, record = ended(tmp_path, "internal_error")
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR
    assert record["errors"] == ["pytest ended by an error of its own: OSError: planted defect"]
    reasons = {cell["reason"] for cell in record["not_verified"] if cell["promised"]}
    assert f"the run failed: {record['errors'][0]}" in reasons


REFUSED = """
import pytest
from fixtures.errors import GuardRefused
pytestmark = pytest.mark.audit("backup regime")

def refuse():
    raise GuardRefused("the guard refused DELETE /1.0/instances/x: planted")

def because_of_it():
    try:
        refuse()
    except GuardRefused:
        raise RuntimeError("something else") from None

ACTS = {
    "body": refuse,
    "chained": because_of_it,
}

@pytest.fixture
def place(request):
    place = request.config.getoption("--refused-in")
    if place == "fixture":
        refuse()
    yield place
    if place == "teardown":
        refuse()

def test_regime(audit, place):
    ACTS.get(place, lambda: None)()
"""


@pytest.mark.parametrize(
    "place, workers",
    [("chained", ()), ("fixture", ()), ("teardown", ()), ("body", ("-n", "2"))],
)
def test_a_refusal_ends_the_run_at_once(run_tests, place, workers, tmp_path):
    done, evidence = run_tests(REFUSED, f"--refused-in={place}", *workers)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout
    words = f"{STOPPED_BY_GUARD}the guard refused DELETE /1.0/instances/x: planted"
    assert words in evidence["errors"]
    assert 1 <= len(evidence["audits"]) <= (2 if workers else 1), "the others were made as well"
    sentence = words[0].upper() + words[1:]
    assert sentence in " ".join(done.stdout.split())
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert sentence in page.read_text()
    assert "verdict of the audit: not verified" in done.stdout
    assert not list((tmp_path / "reports").glob("*/.refused"))


def test_no_branch_for_the_errors_of_a_drill_takes_a_refusal():
    refusal = GuardRefused("planted")
    assert not isinstance(refusal, DrillError)

    def refuse():
        raise refusal

    checks = Checks(Drill("x", "snapshot", target=0, project="x", criticality="critical"))
    for act in (lambda: checks.record_active_checks(refuse), lambda: remove_all("x", [refuse])):
        with pytest.raises(GuardRefused):
            act()
    assert checks.drill.checks == []
    for before in (True, False):
        found = verdict_of(refusal, before_the_loss=before)[:2]
        assert found == (Verdict.NOT_VERIFIED, "the run was stopped: planted")


def test_nothing_catches_everything():
    """A branch for any exception would take a refusal as well; these let it through."""
    found = {
        f"{file.relative_to(ROOT)}"
        for file in Path(fixtures.__file__).parent.rglob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith(("except Exception", "except (Exception", "except:"))
    }
    assert found == {
        "fixtures/backups/servers.py",  # nothing of it reaches Incus
        "fixtures/plugin/alarms.py",  # nor of this
        "fixtures/plugin/after.py",  # the drill fails by it; `take_refusals` looks behind it
        "fixtures/plugin/report.py",  # after an interruption; `take_refusals` looks behind it
    }
