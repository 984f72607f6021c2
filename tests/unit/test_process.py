"""A program that the suite runs: its end, its output, its group, what it may not see."""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures import process
from fixtures.clock import NotYet, wait_until


def must_have_ended(pid):
    """The kernel takes a moment for a process that was killed, which may be gone at each look."""
    stat = Path(f"/proc/{pid}/stat")

    def look():
        with suppress(FileNotFoundError, ProcessLookupError):
            if stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
                raise NotYet(f"{pid} lives")

    wait_until(look, label="ended", timeout=30)


def test_status_and_output_are_kept():
    ended = process.run(["sh", "-c", "seq 30; echo broken >&2; exit 7"], timeout=10)
    assert (ended.status, ended.stderr) == (7, "broken\n")
    assert ended.last_lines(3) == ["29", "30", "broken"]
    unended = process.run(["sh", "-c", "printf no-newline; echo broken >&2"], timeout=10)
    assert unended.last_lines(3) == ["no-newline", "broken"]
    assert str(ended) == "`sh -c 'seq 30; echo broken >&2; exit 7'` ended with status 7"
    assert str(process.run(["sh", "-c", "kill $$"], timeout=9)).endswith("was ended by SIGTERM")
    with pytest.raises(FileNotFoundError):
        process.run(["no-such-tool"], timeout=1)


def test_its_group_ends_with_it_and_at_the_time_limit(tmp_path):
    """A child in the background keeps neither the call nor itself alive."""
    script = 'sleep 60 & echo $! >"$1"; [ "$2" = stay ] && wait'
    for word, status in (("leave", 1), ("stay", None)):
        begun = time.monotonic()
        argv = ["sh", "-c", script, "sh", str(tmp_path / "pid"), word]
        ended = process.run(argv, timeout=2)
        assert ended.status == status
        assert time.monotonic() - begun < 20
        must_have_ended(int((tmp_path / "pid").read_text()))
    assert str(ended).endswith("did not end within 2 s")


def test_a_program_that_ignores_the_request_to_end_is_killed(monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    ended = process.run(["sh", "-c", "trap '' TERM; echo $$; sleep 60 & wait; wait"], timeout=2)
    assert ended.status is None
    must_have_ended(int(ended.stdout))


def test_what_other_threads_run_can_be_killed():
    found = []
    thread = threading.Thread(target=lambda: found.append(process.run(["sleep", "60"], timeout=60)))
    thread.start()
    while thread.is_alive():
        process.end_all()
        thread.join(0.01)
    assert found[0].status == -signal.SIGKILL


def test_environment_and_directory_are_given(tmp_path):
    ended = process.run(["sh", "-c", "echo $WORD; pwd"], timeout=9, env={"WORD": "x"}, cwd=tmp_path)
    assert ended.stdout.split() == ["x", str(tmp_path)]
