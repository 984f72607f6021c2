"""A run that is sealed: its files, its errors, and that the key is nowhere."""

import os
import re

import pytest

from fixtures.evidence import verify
from fixtures.evidence.seal import SEAL_FILE, STAMP_FILE, read_public_key
from tests.plugin.conftest import ROOT, refused
from tests.unit.monitor import monitor
from tests.unit.sealed import new_key
from tests.unit.test_seal import Authority

TESTS = """
import pytest
from fixtures.evidence.record import CheckRecord
pytestmark = pytest.mark.audit("backup regime")

def test_regime(audit):
    audit.checks.append(CheckRecord(name="schedule", outcome="held", detail="daily"))
"""


@pytest.fixture
def key(tmp_path):
    return new_key(tmp_path / "seal.key")


def words_of(directory):
    """Return the texts of all files below a directory."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.read_text(errors="replace") for path in files]


def test_a_sealed_run_holds_and_the_key_is_nowhere(run_tests, key, tmp_path):
    done, evidence = run_tests(TESTS, f"--seal-key={key}", "-n", "2")
    assert done.returncode == 0, done.stdout
    reports = tmp_path / "reports"
    public = read_public_key(key.with_suffix(".pub").read_bytes())
    assert evidence["seal"] == public.model_dump()
    result = verify.verify([reports], (public,))
    assert result.faults == [] and len(result.runs) == 1
    secret, texts = key.read_text().splitlines()[1], words_of(reports)
    assert len(texts) > 3 and not any(secret in text for text in (*texts, done.stdout, done.stderr))
    (page,) = reports.glob("*/report.html")
    assert f"Sealed by key {public.keyid[:16]}" in page.read_text()
    # An edit of what pytest-html wrote, which no evidence can be asked for, is seen as well.
    page.write_text(page.read_text().replace("test_regime", "test_other"))
    assert [fault.where for fault in verify.verify([reports], (public,)).faults] == [str(page)]


def test_a_key_of_the_environment_is_taken(run_tests, key, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_DRILLS_SEAL_KEY", str(key))
    run_tests(TESTS)
    assert len(list((tmp_path / "reports").glob(f"*/{SEAL_FILE}"))) == 1


def test_a_run_without_a_key_says_that_it_is_not_sealed(run_tests, tmp_path):
    done, evidence = run_tests(TESTS)
    assert done.returncode == 0 and evidence["seal"] is None
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert "Not sealed: who can write where this file lies" in page.read_text()
    assert not (page.parent / SEAL_FILE).exists()
    result = verify.verify([tmp_path / "reports"])
    assert result.faults == [] and any("not sealed" in note for note in result.notes)
    page.write_text(page.read_text().replace("audit: in order", "recovered"))
    assert "is not the page of this evidence" in str(verify.verify([page.parent]).faults)


@pytest.mark.parametrize(
    "option, words",
    [
        ("--seal-key={key}", "others may read it"),
        ("--timestamp-url=https://me:hunter2secret@tsa.test/", "holds a user or a password"),
        ("--timestamp-url=ftp://tsa.test", "no URL of http"),
        ("--timestamp-url=tsa", "no URL of http"),
    ],
)
def test_a_key_or_an_url_that_cannot_be_taken_ends_the_run_before_it_begins(
    tmp_path, key, option, words
):
    key.chmod(0o644)
    said = refused(option.format(key=key), f"--reports={tmp_path}/reports")
    assert words in said and "hunter2" not in said
    assert not (tmp_path / "reports").exists()


def test_a_seal_that_cannot_be_written_is_an_error_in_one_line(run_tests, key, tmp_path):
    planted = "import fixtures.evidence.seal as s\ndef full(*_): raise OSError(28, 'No space')\n"
    done, _ = run_tests(planted + "s.write_atomically = full\n" + TESTS, f"--seal-key={key}")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "ERROR: the run is not sealed: No space" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "is missing: the run was to be sealed" in str(
        verify.verify([tmp_path / "reports"]).faults
    )


def test_the_evidence_is_stamped(run_tests, key, tmp_path):
    authority = Authority(tmp_path / "tsa")
    with monitor(answer=authority.answer) as (address, _):
        url = f"http://{address}/token-of-the-operator"
        done, evidence = run_tests(TESTS, f"--seal-key={key}", f"--timestamp-url={url}")
    assert done.returncode == 0, done.stdout
    assert evidence["timestamp"] == evidence["options"]["timestamp-url"] == "127.0.0.1"
    public = read_public_key(key.with_suffix(".pub").read_bytes())
    root = authority.certificate.read_bytes()
    assert verify.verify([tmp_path / "reports"], (public,), root).faults == []
    assert not any("token-of-the-operator" in text for text in words_of(tmp_path / "reports"))


def test_an_authority_that_answers_something_else_is_an_error_without_its_url(run_tests, tmp_path):
    authority = Authority(tmp_path / "tsa")
    with monitor(answer=lambda request: authority.answer(request)[:-40]) as (address, _):
        done, _ = run_tests(TESTS, f"--timestamp-url=http://{address}/token-of-the-operator")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    words = "ERROR: the evidence has no time stamp: time stamp authority 127.0.0.1: "
    assert words + "it is no answer of a time stamp authority" in done.stdout
    (first,) = (tmp_path / "reports").glob("2*/")
    assert not (first / STAMP_FILE).exists()
    assert "127.0.0.1 was asked for a time stamp" in str(verify.verify([first]).faults)


def test_what_judged_and_against_what_is_in_the_evidence(run_tests, tmp_path):
    _, evidence = run_tests(TESTS, "--sample=2", "--seed=7")
    assert evidence["schema_version"] == 2 and evidence["exercise"] == "audit"
    assert evidence["fleet_file"]["text"] == (ROOT / "fleets/atlas.yaml").read_text()
    assert evidence["runbook_file"]["text"] == (ROOT / "docs/runbook.md").read_text()
    assert evidence["runbook_file"]["encoding"] == "utf-8"
    suite = evidence["suite"]
    assert suite["commit"] is None or re.fullmatch("[0-9a-f]{40}", suite["commit"])
    assert evidence["machine"]["cores"] == os.cpu_count()
    assert set(evidence["machine"]["clock"]) == {"synchronised", "max_error"}
    options = evidence["options"]
    assert (options["sample"], options["seed"], options["incus"]) == (2, 7, "lab")
    assert options["reports"] == str(tmp_path / "reports") and options["strict"] is False
    assert evidence["targets"]["native"]["source"] == "assumed"
    cells = evidence["not_verified"]
    assert all(cell["promised"] for cell in cells)
    promised = evidence["promised"]
    assert all(c["origin"] in promised[c["service"]][c["scenario"]] for c in cells)
    (page,) = (tmp_path / "reports").glob("*/report.html")
    assert "assumed by the suite; no approval is on record" in page.read_text()
