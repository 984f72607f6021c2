"""A run with heartbeats and people: sent once, told where not, and the addresses are in no file."""

import json
import time

import pytest

from tests.plugin.conftest import refused, run_pytest
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
        everything = [done.stdout, done.stderr]
        everything += [f.read_text() for f in (tmp_path / "reports").rglob("*") if f.is_file()]
        assert len(everything) > 5
        assert not any(secret in text for text in everything for secret in (KEY, TOKEN))
        return done, evidence

    return run


@pytest.mark.parametrize(
    "workers, outcome, signal", [((), "held", ""), (("-n", "2"), "broken", "/fail")]
)
def test_a_run_is_said_once_and_to_people_if_it_is_bad(run_with, workers, outcome, signal):
    with monitor() as (address, seen):
        done, evidence = run_with(address, *workers, outcome=outcome)
    assert done.returncode == (outcome == "broken"), done.stdout
    assert evidence["warnings"] == []
    (first, begun), sent = seen[0], dict(seen[1:])
    assert (first, len(seen)) == (f"/{KEY}-ran/start", len(sent) + 1)
    people = [f"/{TOKEN}"] if signal else []
    assert sorted(sent) == [f"/{KEY}-ok{signal}", f"/{KEY}-ran", *people]
    assert all(evidence["run"] in body for body in (begun, *sent.values()))
    assert "planted-by-a-service" not in str(seen)
    for path in people:
        message = json.loads(sent[path])
        assert message["title"] == "recovery drills: audit: findings"
        assert "audit of mosquitto: findings" in message["message"]


@pytest.mark.parametrize("outcome, status", [("held", 0), ("broken", 1)])
def test_one_that_cannot_be_sent_changes_no_verdict_and_is_told(
    run_with, tmp_path, outcome, status
):
    with monitor() as (address, _):
        pass
    done, evidence = run_with(address, outcome=outcome)
    assert done.returncode == status, done.stdout
    assert evidence["errors"] == []
    names = ["heartbeat ran", "heartbeat ran", "heartbeat ok", "message to notify file"]
    (page,) = (tmp_path / "reports").glob("*/report.html")
    for name, warning in zip(names[: 3 + status], evidence["warnings"], strict=True):
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
            address = "{}:{}".format(*connection.getpeername())
        done, evidence = run_with(address, outcome="broken")
        assert ended == []
    assert done.returncode == 1
    assert "no answer in 10 s" in evidence["warnings"][0] and len(evidence["warnings"]) == 4


FULL_PAGE = """
import errno, os
from pytest_html.basereport import BaseReport

def half(self, text):
    self._report_path.write_text(text[:1000])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

BaseReport._write_report = half
"""


def test_a_report_that_is_not_written_takes_the_good_heartbeat_back(run_with, tmp_path):
    (tmp_path / "full_page.py").write_text(FULL_PAGE)
    with monitor() as (address, seen):
        done, _ = run_with(address, "-p", "full_page")
    assert done.returncode == 1 and "JUnit's file was not written: No space left" in done.stdout
    assert "ERROR: there is no page; make it: python -m fixtures.evidence.html " in done.stdout
    assert "report: " not in done.stdout and "Generated" not in done.stdout
    paths = [path for path, _ in seen]
    assert f"/{TOKEN}" in paths
    assert paths.index(f"/{KEY}-ok") < paths.index(f"/{KEY}-ok/fail")


def test_where_nothing_is_run_nothing_is_sent(tmp_path):
    with monitor() as (address, seen):
        heartbeats = private(tmp_path / "beats", f"ran http://{address}/{KEY}")
        for option in ("--plan", "--collect-only"):
            assert run_pytest(f"--heartbeat-file={heartbeats}", option).returncode == 0
    assert seen == []


def test_a_wrong_file_ends_the_run_before_it_begins(tmp_path):
    heartbeats = private(tmp_path / "beats", f"http://127.0.0.1/{KEY}")
    said = refused(f"--heartbeat-file={heartbeats}", "--incus=unix")
    assert "line 1 is no heartbeat" in said and KEY not in said
    assert "HINT: each line is `ran URL` or `ok URL`" in said
