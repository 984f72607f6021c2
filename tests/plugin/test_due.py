"""`--due` and the audit of the programme, in runs that reach no Incus."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.audit.policy import promises
from fixtures.evidence.record import Verdict
from fixtures.plugin.options import DEFAULT_FLEET
from tests.plugin.conftest import ROOT, refused, run_pytest
from tests.unit.test_programme import ATLAS, line

SERVICE = "mosquitto"


def write_history(reports, days, **changed):
    """Every cell of one service green so many days ago, but for what is changed of a scenario."""
    reports.mkdir(exist_ok=True)
    with (reports / "history.jsonl").open("a") as stream:
        for promise in promises(ATLAS):
            if promise.service == SERVICE:
                cell = (promise.service, promise.scenario, promise.origin)
                facts = {"software": "Mosquitto 2.0.11", "target": "lab", "rto": 2.0}
                facts |= {"begun": datetime.now(UTC) - timedelta(days=days)}
                more = changed.get(promise.scenario.replace("-", "_"), {})
                made = line(days, cell, **facts).model_copy(update=more)
                stream.write(made.model_dump_json() + "\n")


def collected(reports, *options):
    """(file, what is in brackets) of every collected test of the service."""
    done = run_pytest("--collect-only", "-q", f"--reports={reports}", "-k", SERVICE, *options)
    assert done.returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout + done.stderr
    found = re.findall(r"drills/test_(\w+)\.py::\w+\[([^\]]*)\]", done.stdout)
    return {(file, name) for file, name in found}


def test_what_is_due_is_drilled_and_the_rest_deselected(tmp_path):
    everything = collected(tmp_path)
    assert ("programme", SERVICE) not in everything, "before the first drill there is no proof"
    drills = {x for x in everything if x[0] != "backup_regime"}
    assert collected(tmp_path, "--due") == drills and len(drills) >= 4, "never proven is due"
    write_history(tmp_path, 3)
    assert collected(tmp_path, "--due") == {("programme", SERVICE)}
    assert collected(tmp_path) == everything | {("programme", SERVICE)}
    write_history(tmp_path, 1, snapshot={"verdict": Verdict.WRONG_DATA})
    assert collected(tmp_path, "--due") == {
        ("programme", SERVICE),
        ("restore_from_snapshot", f"{SERVICE}-rehearsal"),
        ("existing_backups", f"{SERVICE}-existing"),
        ("runbook", f"{SERVICE}-from-a-snapshot"),
    }


def test_another_entry_of_the_fleet_file_makes_it_due_and_workers_collect_the_same(tmp_path):
    write_history(tmp_path, 3)
    other = tmp_path / "fleet.yaml"
    text = DEFAULT_FLEET.read_text().replace("size: 5GB", "size: 6GB")
    other.write_text(text.replace("../docs/", f"{ROOT}/docs/"))
    assert ("rebuild", f"{SERVICE}-rehearsal") in collected(tmp_path, "--due", f"--fleet={other}")
    options = ("--due", "-k", SERVICE, "--plan", "-q", f"--reports={tmp_path}", f"--fleet={other}")
    done = run_pytest(*options)
    assert done.returncode == 0 and "audit of mosquitto: programme, read only" in done.stdout


def test_a_history_that_cannot_be_read_is_no_reason_to_drill_nothing(tmp_path):
    (tmp_path / "history.jsonl").mkdir()
    refused("--collect-only", "-q", "--due", f"--reports={tmp_path}")


AUDIT = (ROOT / "drills" / "test_programme.py").read_text()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_the_audit_contacts_nothing_and_its_findings_are_the_exit_status(
    run_tests, tmp_path, workers
):
    reports = tmp_path / "reports"
    red = {"verdict": Verdict.WRONG_DATA, "begun": datetime.now(UTC) - timedelta(hours=1)}
    write_history(reports, 4, snapshot={**red, "fleet": "other"})
    write_history(reports, 3)
    done, evidence = run_tests(AUDIT, "--due", *workers)
    assert done.returncode == 0, done.stdout + done.stderr
    (audit,) = evidence["audits"]
    assert (audit["subject"], audit["topic"]) == (SERVICE, "programme")
    assert {check["outcome"] for check in audit["checks"]} == {"held"}
    assert evidence["incus"] is None, "no lab was brought up for it"
    proofs = {proof["verdict"] for proof in evidence["proofs"] if proof["service"] == SERVICE}
    assert proofs == {"recovered"}, "another fleet proves nothing here"
    reasons = {c["reason"] for c in evidence["not_verified"] if c["service"] == SERVICE}
    assert any(reason.startswith("not due: proven in run r3, valid until ") for reason in reasons)
    page = (reports / "index.html").read_text()
    assert "Fleet atlas on lab" in page and "audit: in order" in page
    write_history(reports, 1, tarball={"software": "Mosquitto 2.1.0"})
    done, evidence = run_tests(AUDIT, "-n", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    (audit,) = evidence["audits"]
    broken = [check for check in audit["checks"] if check["outcome"] == "broken"]
    assert broken and all(c["detail"].startswith("void: ") for c in broken)
    assert "mosquitto was Mosquitto 2.0.11, and is Mosquitto 2.1.0" in done.stdout
    assert "./run drills --due -k 'mosquitto and " in done.stdout
