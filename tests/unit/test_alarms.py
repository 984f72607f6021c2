"""Heartbeats and messages: what is sent when, and that one which is not sent is a warning alone."""

import json
import logging
import socket
import time

import pytest

from fixtures.errors import UsageError
from fixtures.plugin import alarms
from fixtures.plugin.alarms import read_alarms
from fixtures.plugin.options import redact_logs
from tests.unit.monitor import monitor, private
from tests.unit.servers import context_of, identity, pages, server

KEY = "5ecr3t-k3y-0f-p1ng"
TOKEN = "t0ken-0f-the-chat"


NOT_SENT = "heartbeat ok was not sent: {}; no verdict rests on it"


def given(directory, heartbeats=None, people=None):
    texts = {"heartbeats": heartbeats, "people": people}
    return read_alarms(
        *(text and str(private(directory / name, text)) for name, text in texts.items())
    )


@pytest.mark.parametrize("is_ok, signal", [(True, ""), (False, "/fail")])
def test_ran_says_that_it_ran_and_ok_what_came_of_it(tmp_path, golden, is_ok, signal):
    with monitor() as (address, seen):
        lines = f"# ours\n\nran http://{address}/{KEY}/?rid=1\nok   http://{address}/ok\r\n"
        to = given(tmp_path, lines, f"json://{address}/{TOKEN}\n")
        assert to.begin(golden.run) == []
        assert seen == [(f"/{KEY}/start?rid=1", golden.run)]
        assert to.end(golden, is_ok) == []
    sent = dict(seen[1:])
    assert sent.keys() == {f"/{KEY}?rid=1", f"/ok{signal}", *([] if is_ok else [f"/{TOKEN}"])}
    body = sent[f"/ok{signal}"]
    assert body == sent[f"/{KEY}?rid=1"]
    assert body.startswith(f"recovery drills: wrong data\nrun {golden.run} on ")
    assert "mosquitto tarball (rehearsal): not recovered" in body
    assert len(body) < 1000
    # What services said stays here.
    assert not any(drill.reason in body for drill in golden.drills if drill.reason)
    if not is_ok:
        message = json.loads(sent[f"/{TOKEN}"])
        assert (message["title"], message["type"]) == ("recovery drills: wrong data", "failure")
        assert f"{message['title']}\n{message['message']}" == body


def test_people_are_told_which_section_of_the_runbook_was_red(golden):
    red = next(drill for drill in golden.drills if drill.verdict == "not recovered")
    run = golden.model_copy(update={"drills": [red.model_copy(update={"procedure": "runbook"})]})
    assert "mosquitto tarball (runbook): not recovered" in alarms._words(run)[1]


def drips(connection):
    """Answer a byte now and then: the time-out of a socket restarts with each."""
    connection.recv(65536)
    for _ in range(300):
        connection.sendall(b"H")
        time.sleep(0.1)


def says_nothing(connection):
    connection.recv(65536)


def test_where_no_one_listens_it_is_told(tmp_path, golden):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    to = given(tmp_path, f"ran http://127.0.0.1:{port}/{KEY}", f"json://127.0.0.1:{port}/{TOKEN}")
    why = "there is no connection to it; no verdict rests on it"
    assert to.begin("run") == [f"heartbeat ran was not sent: {why}"]
    beat, message = to.end(golden, is_ok=False)
    assert beat == f"heartbeat ran was not sent: {why}"
    assert message.startswith(f"message to notify file {tmp_path}/people: line 1 was not sent: ")


@pytest.mark.parametrize("answer", [says_nothing, drips])
def test_a_server_that_is_slow_holds_no_run(tmp_path, golden, monkeypatch, answer):
    monkeypatch.setattr(alarms, "SECONDS", 0.3)
    with server(answer) as connect:
        with connect() as connection:
            host, port = connection.getpeername()
        lines = "".join(f"ok http://{host}:{port}/{KEY}{n}\n" for n in range(5))
        to, begun = given(tmp_path, lines, f"json://{host}:{port}/{TOKEN}"), time.monotonic()
        warnings = to.end(golden, is_ok=False)
        assert time.monotonic() - begun < 20
    assert warnings[:5] == [NOT_SENT.format("no answer in 0.3 s")] * 5 and len(warnings) == 6
    assert KEY not in str(warnings) and TOKEN not in str(warnings)


@pytest.mark.parametrize("status, location", [(404, None), (500, None), (302, "/elsewhere")])
def test_what_a_monitor_does_not_take_was_not_sent(tmp_path, golden, status, location):
    with monitor(status, location) as (address, seen):
        warnings = given(tmp_path, f"ok http://{address}/{KEY}").end(golden, is_ok=True)
    assert warnings == [NOT_SENT.format(f"HTTP status {status}")]
    assert [path for path, _ in seen] == [f"/{KEY}"]


def test_a_server_that_cannot_be_trusted_gets_nothing(tmp_path, golden):
    with server(pages({f"/{KEY}": b""}), context_of(identity("monitor"))) as connect:
        with connect() as connection:
            port = connection.getpeername()[1]
        warnings = given(tmp_path, f"ok https://127.0.0.1:{port}/{KEY}").end(golden, is_ok=True)
    assert warnings == [NOT_SENT.format("its certificate is not trusted")]


def test_an_error_that_no_one_thought_of_is_named_without_its_words(tmp_path, golden, monkeypatch):
    def broken(url, **_):
        raise RuntimeError(url)

    monkeypatch.setattr("requests.post", broken)
    warnings = given(tmp_path, f"ok http://127.0.0.1/{KEY}").end(golden, is_ok=True)
    assert warnings == [NOT_SENT.format("RuntimeError")]


def test_no_log_line_holds_an_address(tmp_path, golden, caplog):
    redact_logs()
    caplog.set_level(logging.DEBUG)
    with monitor(500) as (address, _):
        user = f"json://someone:p4ss-0f-m1ne@{address}/{TOKEN}?+X-Key=h3ader-v4lue"
        to = given(tmp_path, f"ran http://{address}/{KEY}?token=qu3ry-v4lue", user)
        to.begin("run")
        assert len(to.end(golden, is_ok=False)) == 2
    assert "POST" in caplog.text, "nothing was logged at all"
    for secret in (KEY, TOKEN, "p4ss-0f-m1ne", "h3ader-v4lue", "qu3ry-v4lue"):
        assert secret not in caplog.text
    assert "127.0.0.1" in caplog.text, "an address of a machine is no secret"


@pytest.mark.parametrize(
    "heartbeats, people, why",
    [
        ("# nothing\n", None, "names no address"),
        (f"ran http://h/1\nyes http://h/{KEY}", None, "line 2 is no heartbeat"),
        (f"http://h/{KEY}", None, "line 1 is no heartbeat"),
        (f"ok file:///{KEY}", None, "line 1 is no heartbeat"),
        *(
            (line, None, "line 1 is no heartbeat")
            for line in ("ok", "ok http://", "ran http://h:x")
        ),
        (f"ok http://[{KEY}", None, "line 1 is no heartbeat"),
        (None, f"json://[{TOKEN}", "line 1 is no URL of Apprise"),
        (None, f"json://h/x\nnonsense://{TOKEN}", "line 2 is no URL of Apprise"),
        (None, TOKEN, "line 1 is no URL of Apprise"),
    ],
)
def test_a_wrong_file_is_refused_without_what_is_in_it(tmp_path, heartbeats, people, why):
    with pytest.raises(UsageError, match=f"{why}.*nothing was contacted") as caught:
        given(tmp_path, heartbeats, people)
    assert KEY not in str(caught.value) and TOKEN not in str(caught.value)


@pytest.mark.parametrize("option", ["heartbeat", "notify"])
def test_a_file_that_others_may_read_or_that_is_none_is_refused(tmp_path, option):
    file = private(tmp_path / "file", f"ok http://h/{KEY}")
    file.chmod(0o640)
    for path, words in (
        (file, rf"{option} file .*: others may read it .-rw-r-----[\s\S]*chmod 600 {file}"),
        (f"{file}.none", "No such file"),
    ):
        with pytest.raises(UsageError, match=words):
            read_alarms(*((path, None) if option == "heartbeat" else (None, path)))
