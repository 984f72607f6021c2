"""The terminal, the evidence and the exit status of runs of audits, which need no Incus."""

from types import SimpleNamespace

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import SESSION
from fixtures.plugin.options import DEFAULT_FLEET, RUN
from fixtures.plugin.progress import Progress
from fixtures.plugin.report import COLLECTOR
from fixtures.plugin.terminal import DrillTerminal
from tests.plugin.conftest import run_pytest
from tests.unit.test_evidence_judge import drill as recovered

WHY = "grafana: the vendor's package could not be fetched (https://vendor: timed out)"
TESTS = f"""
import pytest
from fixtures.errors import CouldNotLook
from fixtures.evidence.record import CheckRecord
from fixtures.plugin.audits import AUDIT
from fixtures.plugin.fixtures import skip
pytestmark = pytest.mark.audit("backup regime")
ADVICE = "incus storage volume show local x"
LONG = "is @never" + " and so on" * 30

def check(outcome):
    return CheckRecord(name="schedule", outcome=outcome, detail=LONG, advice=ADVICE)

@pytest.fixture
def source(request, audit):
    if audit.subject == "grafana":
        del request.node.stash[AUDIT]
        cell = {{"scenario": "snapshot", "origin": "rehearsal"}}
        skip(request.node, "grafana", {WHY!r}, **cell)

def test_regime(audit, source):
    if audit.subject == "loki":
        raise CouldNotLook("volume loki01-data: gone", hint="look for it")
    if audit.subject == "atlantis":
        raise RuntimeError("a defect")
    if audit.subject != "mosquitto":
        audit.take([check("broken" if audit.subject == "step-ca" else "held")])
"""


@pytest.mark.parametrize("options", [(), ("-q", "-n", "2")], ids=["plain", "quiet workers"])
def test_a_line_for_each_the_reasons_whole_and_the_report_last(run_tests, options, tmp_path):
    done, evidence = run_tests(TESTS, *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    seen = {audit["subject"]: audit for audit in evidence["audits"]}
    assert len(seen) == 7 and "grafana" not in seen
    assert seen["loki"]["reason"] == "volume loki01-data: gone\nHINT: look for it"
    assert "RuntimeError" in seen["atlantis"]["trace"]
    lines = (tmp_path / "reports" / "history.jsonl").read_text().splitlines()
    assert len(lines) == len(seen) + 1, "one for each, and one for the run"
    lines = done.stdout.splitlines()
    for verdict, subject in (
        ("✕ findings", "step-ca"),
        ("? not verified", "loki"),
        ("? not verified", "mosquitto"),
        ("✓ in order", "prometheus"),
        ("- skipped", "grafana"),
    ):
        assert [line for line in lines if f"/8] {verdict}" in line and f" {subject} " in line]
    assert f"        {WHY}" in lines
    test = "FAILED drills/test_audit.py::test_regime[step-ca] - "
    (failed,) = [line for line in lines if line.startswith(test)]
    assert failed.count("and so on") == 30 and "HINT: incus storage volume show" in failed
    assert "a defect" in done.stdout and done.stdout.count("Traceback") == 0
    assert lines[-1].startswith("report: ") and lines[-1].endswith("report.html")
    for noise in ("\x1b", "rootdir", "plugins:", "generated", "[100%]", "test session starts"):
        assert noise not in done.stdout, noise
    assert not [
        line for line in lines if line.startswith(("drills/test_audit.py .", "bringing up"))
    ]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_run_without_incus_says_so_once_and_survives_its_terminal(tmp_path, workers):
    """Printed to nothing, it is written all the same; standard error says where."""
    options = ("--incus=unix", "-m", "audit", f"--reports={tmp_path}", *workers)
    no_incus = {"INCUS_SOCKET": f"{tmp_path}/none"}
    with open("/dev/full", "w") as full:
        lost = run_pytest(*options, **no_incus, stdout=full)
    (page,) = tmp_path.glob("*/report.html")
    assert lost.returncode == pytest.ExitCode.TESTS_FAILED
    why = "nothing takes what is printed: No space left on device; the run went on without"
    assert lost.stderr == f"{why}\nreport: {page}\n"
    done = run_pytest(*options, **no_incus)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and done.stderr == ""
    assert done.stdout.count("ERROR: no Incus socket at ") == 1
    assert "the run ended there" in done.stdout
    for noise in ("Traceback", "_pytest.outcomes", "xdist.dsession", "  passed"):
        assert noise not in done.stdout


def test_a_skip_is_no_failure_and_no_pass_and_audits_claim_no_recovery(run_tests, tmp_path):
    done, evidence = run_tests(TESTS, "-k", "grafana or prometheus")
    assert done.returncode == 0, done.stdout
    assert evidence["skipped"] == [{"service": "grafana", "reason": WHY, "drills": 1}]
    cells = {(c["service"], c["scenario"], c["origin"]): c for c in evidence["not_verified"]}
    assert cells["grafana", "snapshot", "rehearsal"]["reason"] == WHY
    assert [audit["subject"] for audit in evidence["audits"]] == ["prometheus"]
    done, evidence = run_tests(TESTS, "-k", "prometheus or alertmanager")
    assert (done.returncode, evidence["drills"]) == (0, [])
    assert "verdict of the audit: in order" in done.stdout
    page = tmp_path / "reports" / evidence["run"] / "report.html"
    assert "audit: in order" in page.read_text()


RECOVERED = """
import pytest
from fixtures.plugin.fixtures import skip
from tests.plugin.conftest import run_pytest
from tests.unit.test_evidence_judge import drill as recovered
CELL = {"scenario": "snapshot", "origin": "rehearsal"}

@pytest.fixture(params=["mosquitto", "grafana", "atlantis"])
def service(request):
    if request.param != "mosquitto":
        skip(request.node, request.param, f"{request.param}: no package", **CELL)
    return request.param

def test_drill(request, service):
    found = recovered(service=service, **CELL).model_dump_json()
    request.node.user_properties.append(("drill", found))
"""


@pytest.mark.parametrize("options, status", [((), 0), (("--strict",), 1)])
def test_exit_status_headline_page_and_metrics_of_a_run_with_skips_agree(
    run_tests, tmp_path, options, status
):
    done, evidence = run_tests(RECOVERED, *options)
    assert done.returncode == status, done.stdout
    words = "recovered, with gaps: grafana, atlantis"
    assert f"verdict of the run: {words}" in done.stdout.splitlines()
    assert "not verified: grafana, atlantis (2 drills skipped): no package" in done.stdout
    report = tmp_path / "reports" / evidence["run"]
    assert words in (report / "report.html").read_text()
    # A skip is a pass nowhere.
    metrics = (report / "metrics.prom").read_text()
    assert 'dr_run_verdict{verdict="not-verified"} 1' in metrics
    assert 'dr_run_verdict{verdict="recovered"} 0' in metrics
    assert [drill["service"] for drill in evidence["drills"]] == ["mosquitto"]
    lines = (tmp_path / "reports" / "history.jsonl").read_text().splitlines()
    assert ["mosquitto" in line for line in lines] == [True, False]


def test_a_run_of_nothing_but_skips_is_not_verified(run_tests):
    done, evidence = run_tests(RECOVERED, "-k", "grafana or atlantis")
    assert (done.returncode, evidence["drills"]) == (0, [])
    assert "verdict of the run: not verified" in done.stdout


@pytest.mark.parametrize("rto", [1.87, 12.5])
def test_the_line_of_a_drill_that_was_selected_fits_into_100_columns(rto):
    fleet = load_fleet(DEFAULT_FLEET)
    planned = Planned(fleet.service("mosquitto"), "tarball", variant="new-volume")
    about = {"service": "mosquitto", "scenario": "tarball", "variant": "new-volume", "rto": rto}
    taken = SimpleNamespace(drills={"t": recovered(**about)}, audits={}, skips={})
    run = SimpleNamespace(fleet=fleet, target="lab")
    stage = SimpleNamespace(progress=Progress(None))
    terminal = DrillTerminal(SimpleNamespace(stash={RUN: run, SESSION: stage, COLLECTOR: taken}))
    item = SimpleNamespace(callspec=SimpleNamespace(params={"drill": planned}))
    terminal.pytest_collection_finish(SimpleNamespace(items=[item]))
    (line,), _ = terminal._result(SimpleNamespace(nodeid="t"))
    assert len(f"[1/1] {line}") <= 100, line
    assert "mosquitto  tarball (new-volume)  rehearsal  RTO" in line
