"""A run with heartbeats and people: sent once, told where not, and the addresses are in no file."""

import json
import time

import pytest

from tests.plugin.conftest import run_pytest
from tests.unit.monitor import monitor, private
from tests.unit.servers import server

KEY = "5ecr3t-k3y-0f-p1ng"
TOKEN = "t0ken-0f-the-chat"

TESTS = """
import pytest
from fixtures.evidence.record import CheckRecord
pytestmark = pytest.mark.audit("backup regime")

def test_regime(audit):
    audit.take([CheckRecord(name="x", outcome="OUTCOME", detail="planted-by-a-service")])
"""


@pytest.fixture
def run_with(run_tests, tmp_path):
    """Run audits with alarms at an address: (process, evidence)."""

    def run(address, *options, outcome="held"):
        beats = f"ran http://{address}/{KEY}-ran\nok http://{address}/{KEY}-ok\n"
        heartbeats = private(tmp_path / "heartbeats", beats)
        people = private(tmp_path / "people", f"json://{address}/{TOKEN}\n")
        files = f"--heartbeat-file={heartbeats}", f"--notify-file={people}"
        log = ("--log-file-level=DEBUG", f"--log-file={tmp_path}/reports/log")
        done, evidence = run_tests(TESTS.replace("OUTCOME", outcome), *files, *log, *options)
        # The lab's kind of target is not contacted by these audits.
        everything = [done.stdout, done.stderr]
        everything += [f.read_text() for f in (tmp_path / "reports").rglob("*") if f.is_file()]
        assert len(everything) > 5
        assert not any(secret in text for text in everything for secret in (KEY, TOKEN))
        return done, evidence

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_good_run_is_said_to_be_so_once(run_with, workers):
    with monitor() as (address, seen):
        done, evidence = run_with(address, *workers)
    assert done.returncode == 0, done.stdout
    paths = [path for path, _ in seen]
    assert paths[0] == f"/{KEY}-ran/start"
    assert sorted(paths[1:]) == [f"/{KEY}-ok", f"/{KEY}-ran"]
    assert all(evidence["run"] in body for _, body in seen)
    assert evidence["warnings"] == []


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_bad_run_is_told_to_people_too(run_with, workers):
    with monitor() as (address, seen):
        done, _ = run_with(address, *workers, outcome="broken")
    assert done.returncode == 1
    assert seen[0][0] == f"/{KEY}-ran/start"
    sent = dict(seen[1:])
    assert sorted(sent) == [f"/{KEY}-ok/fail", f"/{KEY}-ran", f"/{TOKEN}"]
    assert len(seen) == 4
    message = json.loads(sent[f"/{TOKEN}"])
    assert message["title"] == "recovery drills: audit: findings"
    assert "audit of mosquitto: findings" in message["message"]
    assert "planted-by-a-service" not in str(seen)


@pytest.mark.parametrize("outcome, status", [("held", 0), ("broken", 1)])
def test_one_that_cannot_be_sent_changes_no_verdict_and_is_told(
    run_with, tmp_path, outcome, status
):
    with monitor() as (address, _):
        pass
    done, evidence = run_with(address, outcome=outcome)
    assert done.returncode == status, done.stdout
    assert evidence["errors"] == []
    warnings = evidence["warnings"]
    names = ["heartbeat ran", "heartbeat ran", "heartbeat ok", "message to notify file"]
    assert len(warnings) == (3 if status == 0 else 4)
    (page,) = (tmp_path / "reports").glob("*/report.html")
    for name, warning in zip(names, warnings, strict=False):
        assert warning.startswith(name) and "was not sent" in warning
        assert f"WARNING: {warning}" in done.stdout
        assert warning in page.read_text()


def test_a_monitor_that_drips_does_not_hold_the_end_of_the_run(run_with):
    """Threads that are not waited for must not be waited for at the end of the process either."""
    ended = []

    def drips(connection):
        connection.recv(65536)
        for _ in range(600):
            connection.sendall(b"H")
            time.sleep(0.1)
        ended.append(connection)

    with server(drips) as connect:
        with connect() as connection:
            host, port = connection.getpeername()
        done, evidence = run_with(f"{host}:{port}", outcome="broken")
        assert ended == []
    assert done.returncode == 1
    assert "no answer in 10 s" in evidence["warnings"][0] and len(evidence["warnings"]) == 4


FULL_PAGE = """
import errno, os, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_html_results_summary(prefix):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")
"""


def test_a_report_that_is_not_written_takes_the_good_heartbeat_back(run_with, tmp_path):
    (tmp_path / "full_page.py").write_text(FULL_PAGE)
    with monitor() as (address, seen):
        done, _ = run_with(address, "-p", "full_page")
    assert done.returncode == 1 and "a report was not written" in done.stdout
    paths = [path for path, _ in seen]
    assert f"/{TOKEN}" in paths
    assert paths.index(f"/{KEY}-ok") < paths.index(f"/{KEY}-ok/fail")


def test_where_nothing_is_run_nothing_is_sent(run_with, run_tests, tmp_path):
    with monitor() as (address, seen):
        heartbeats = private(tmp_path / "beats", f"ran http://{address}/{KEY}")
        for option in ("--plan", "--collect-only"):
            with pytest.raises(ValueError, match="not enough values to unpack"):
                run_tests(TESTS, f"--heartbeat-file={heartbeats}", option)
    assert seen == []


def test_a_wrong_file_ends_the_run_before_it_begins(tmp_path):
    heartbeats = private(tmp_path / "beats", f"http://127.0.0.1/{KEY}")
    done = run_pytest(f"--heartbeat-file={heartbeats}", "--incus=unix")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "line 1 is no heartbeat; nothing was contacted" in done.stderr
    assert "HINT: each line is `ran URL` or `ok URL`" in done.stderr
    assert KEY not in done.stdout + done.stderr and "Traceback" not in done.stderr
