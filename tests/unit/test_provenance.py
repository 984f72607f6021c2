"""What a run says of its own code, its machine and its plan."""

import base64
import hashlib
import json
import subprocess
from types import SimpleNamespace

import pytest

from fixtures.errors import UsageError
from fixtures.evidence import wording
from fixtures.evidence.html import render_summary
from fixtures.evidence.record import TextRecord
from fixtures.fleet.load import load_fleet
from fixtures.plugin import report
from fixtures.plugin.options import DEFAULT_FLEET
from tests import alarm
from tests.unit.test_evidence_judge import run


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit."""
    root = tmp_path / "checkout"
    root.mkdir()
    for number, path in enumerate(("tests/sabotage/test_a.py", "tests/mutations/test_b.py")):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(str(number))
    own = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "-q"], ["add", "."], [*own, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    monkeypatch.setattr(report, "ROOT", root)
    monkeypatch.setattr(alarm, "ROOT", root)
    monkeypatch.setenv("ATLAS_DRILLS_CACHE", str(tmp_path / "cache"))
    report.describe_suite.cache_clear()
    yield root
    report.describe_suite.cache_clear()


def described():
    report.describe_suite.cache_clear()
    return report.describe_suite()


def test_a_changed_file_is_named_and_no_checkout_is_said(checkout, tmp_path, monkeypatch):
    suite = described()
    assert len(suite.commit) == 40 and suite.changed == []
    assert wording.suite_words(suite) == f"commit {suite.commit[:12]}, unchanged"
    (checkout / "new.py").write_text("")
    assert described().changed == ["new.py"]
    assert wording.suite_words(described()).endswith(", changed: new.py")
    assert "1 change that no commit has" in render_summary(run(suite=described()))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(report, "ROOT", tmp_path / "elsewhere")
    assert (described().commit, described().changed) == (None, None)
    assert "its commit is not known" in wording.suite_words(described())
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(report, "ROOT", checkout)
    assert described().commit is None


GREEN = {"tests/sabotage/test_a.py::one": "passed", "tests/mutations/test_b.py::two": "passed"}


def rehearse_tests(outcomes, status=0, keyword="", arguments=("tests",), after=lambda: None):
    """End a session of tests with these outcomes."""
    keeper = alarm.AlarmKeeper()
    for test, outcome in outcomes.items():
        report = SimpleNamespace(nodeid=test, when="call", outcome=outcome)
        keeper.pytest_runtest_logreport(report)
    after()
    option = SimpleNamespace(keyword=keyword, markexpr="", collectonly=False)
    config = SimpleNamespace(option=option, args=list(arguments))
    keeper.pytest_sessionfinish(SimpleNamespace(config=config), status)


def test_green_tests_of_this_commit_are_on_record(checkout):
    assert described().alarm is None
    assert wording.alarm_words(described()) == "not seen: not on record for this commit"
    skipped = {"tests/sabotage/test_a.py::three": "skipped"}
    rehearse_tests({**GREEN, **skipped, "tests/unit/x.py::y": "passed"})
    found = described().alarm
    assert (found.sabotage, found.mutations, found.skipped) == (1, 1, 1)
    lines = sorted(f"{outcome} {test}\n" for test, outcome in {**GREEN, **skipped}.items())
    assert found.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    words = "1 sabotage test and 1 mutation test of this commit were green"
    assert words in wording.alarm_words(described())
    (checkout / "tests/sabotage/test_a.py").write_text("changed")
    assert described().alarm is None
    assert wording.alarm_words(described()) == "not seen: its changes were not tested"


@pytest.mark.parametrize(
    "spoiled",
    [
        {"outcomes": GREEN | {"tests/sabotage/test_a.py::one": "failed"}},
        {"outcomes": dict(list(GREEN.items())[:1])},
        {"outcomes": {}},
        {"outcomes": GREEN, "status": 1},
        {"outcomes": GREEN, "keyword": "one"},
        {"outcomes": GREEN, "arguments": ("tests/sabotage/test_a.py::one", "tests/mutations")},
    ],
    ids=["one failed", "one directory", "none", "another failed", "-k", "one of a file"],
)
def test_an_alarm_that_did_not_ring_whole_is_not_on_record(checkout, spoiled):
    rehearse_tests(**spoiled)
    assert described().alarm is None


def test_what_was_edited_while_the_tests_ran_was_not_rehearse_tests(checkout):
    path = checkout / "tests/sabotage/test_a.py"
    rehearse_tests(GREEN, after=lambda: path.write_text("changed"))
    path.write_text("0")
    assert described().changed == [] and described().alarm is None


def test_a_record_of_another_commit_or_a_damaged_one_is_none(checkout):
    rehearse_tests(GREEN)
    path = report.alarm_file(described().commit)
    data = json.loads(path.read_text())
    for text in (json.dumps(data | {"commit": "00" * 20}), "{", json.dumps(data | {"sabotage": 0})):
        path.write_text(text)
        assert described().alarm is None


@pytest.mark.parametrize(
    ("state", "status", "synchronised", "words"),
    [
        (0, 0x2001, True, "synchronised, says its kernel, at most 0.25 s off"),
        (5, 0x40, False, "not synchronised, says its kernel"),
        (0, 0x40, False, "not synchronised, says its kernel"),
        (5, 0, False, "not synchronised, says its kernel"),
        (-1, 0, None, "not known: the kernel could not be asked"),
    ],
)
def test_the_kernel_is_asked_for_the_clock(monkeypatch, state, status, synchronised, words):
    def adjtimex(seen):
        seen._obj.status, seen._obj.maxerror = status, 250_000
        assert seen._obj.modes == 0, "it would set the clock"
        return state

    monkeypatch.setattr(report.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=adjtimex))
    found = report.describe_clock()
    assert found.synchronised is synchronised
    assert wording.clock_words(found) == words


def test_the_clock_of_this_machine_can_be_asked():
    """As `adjtimex --print` says it, where a kernel answers at all."""
    assert report.describe_clock().synchronised in (True, False, None)
    assert report.describe_machine().memory_bytes > 1 << 27


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"name: atlas\n", "utf-8"),
        ("Größe: 1\n".encode(), "utf-8"),
        (b"a\r\nb", "base64"),
        ("a\u202eb".encode(), "base64"),
        (b"\xff\xfe", "base64"),
    ],
)
def test_a_text_is_kept_whole(data, encoding):
    found = TextRecord.of("x", data)
    assert found.encoding == encoding and found.is_whole
    assert found == TextRecord.model_validate_json(found.model_dump_json())
    kept = base64.b64decode(found.text) if encoding == "base64" else found.text.encode()
    assert kept == data
    assert "\u202e" not in found.shown and "\r" not in found.shown
    assert not found.model_copy(update={"text": found.text[1:] + found.text[:1] + "AAAA"}).is_whole


def test_a_secret_in_a_text_is_cut_out():
    found = TextRecord.of("x", b"pw: hunter2", lambda text: text.replace("hunter2", "[redacted]"))
    assert (found.encoding, found.text) == ("redacted", "pw: [redacted]")
    assert found.sha256 == hashlib.sha256(b"pw: hunter2").hexdigest()


def fleet_with(approved, tmp_path):
    text = DEFAULT_FLEET.read_text()
    path = tmp_path / "fleet.yaml"
    path.write_text(text.replace("source: runbook}", f"source: runbook, approved: {approved}}}", 1))
    return load_fleet(path)


def test_who_approved_a_target_is_shown(tmp_path):
    fleet = fleet_with("{by: Head of IT, on: 2026-11-02}", tmp_path)
    words = {k: wording.target_words(t) for k, t in report.describe_targets(fleet).items()}
    assert words["snapshot"] == "of the runbook; approved by Head of IT, 2 Nov 2026"
    assert words["native"] == "assumed by the suite; no approval is on record"


@pytest.mark.parametrize(
    "wrong", ["{by: me}", "{by: me, on: soon}", "{by: '', on: 2026-11-02}", "{on: 2026-11-02}"]
)
def test_what_a_fleet_file_says_of_an_approval_is_checked(tmp_path, wrong):
    with pytest.raises(UsageError, match="approved"):
        fleet_with(wrong, tmp_path)


def test_version_1_has_none_of_it_and_is_shown():
    page = render_summary(run())
    assert "Not sealed" in page and "What was judged" not in page and "Judged by" not in page
