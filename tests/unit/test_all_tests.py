"""`python -m tests`: every test is in one share, and a share that fails is the exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tests.__main__ as all_tests
from fixtures.clock import NotYet, wait_until

TESTS = Path(__file__).parents[1]


def test_every_directory_of_tests_is_in_one_share():
    there = {path.parent.name for path in TESTS.rglob("test_*.py")}
    shared = [directory for share in all_tests.SHARES.values() for directory in share]
    assert sorted(shared) == sorted(there)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two shares of one directory each, whose tests are given by the test."""
    monkeypatch.setattr(all_tests, "SHARES", {"one": ("a",), "two": ("b",)})
    monkeypatch.setenv("ATLAS_DRILLS_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PYTEST_ADDOPTS")  # of runs of drills; these are of tests
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for directory in "ab":
        (tmp_path / "tests" / directory).mkdir(parents=True)


def write(tmp_path, **bodies):
    """Write the test of each directory."""
    for directory, text in bodies.items():
        code = f"import os\n\n\ndef test_{directory}():\n    {text}\n"
        (tmp_path / f"tests/{directory}/test_{directory}.py").write_text(code)


def test_one_share_that_fails_fails_all_and_each_has_a_lab_of_its_own(small, tmp_path, capsys):
    see = "assert os.environ['ATLAS_DRILLS_STATE'] == {!r}".format
    write(tmp_path, a="assert 1 == 2", b=see(str(tmp_path / "state" / "two")))
    assert all_tests.main([]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("two: ") and "1 passed" in line for line in said)
    assert said[-2].startswith("FAILED tests/a/test_a.py::test_a")
    assert said[-1] == "tests: one ended with status 1, two ended with status 0"
    assert all_tests.main(["tests/b"]) == 1, "with arguments it is one pytest, in one lab"
    (tmp_path / "tests/a/test_a.py").unlink()
    write(tmp_path, b="pass")
    assert all_tests.main([]) == pytest.ExitCode.NO_TESTS_COLLECTED, "no tests are no pass"


def must_be_gone(pids):
    if left := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]:
        raise NotYet(f"{left} live")


def pids_in(tmp_path):
    pids = [path.read_text() for path in (tmp_path / "a", tmp_path / "b") if path.is_file()]
    if len(pids) < 2 or not all(pids):
        raise NotYet("not both run")
    return pids


def test_who_ends_it_ends_its_shares(small, tmp_path):
    slow = "import os, pathlib, time\n\n\ndef test():\n    pathlib.Path('{}').write_text("
    slow += "str(os.getpid()))\n    time.sleep(60)\n"
    for directory in "ab":
        (tmp_path / f"tests/{directory}/test_it.py").write_text(slow.format(directory))
    code = "import sys; import tests.__main__ as t; t.SHARES = {'one': ('a',), 'two': ('b',)}; "
    code += "import signal; signal.signal(signal.SIGTERM, t.terminated); t.main([])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(TESTS.parent)}
    )
    pids = wait_until(lambda: pids_in(tmp_path), label="both run", timeout=60)
    process.terminate()
    assert process.wait(timeout=60) != 0
    wait_until(lambda: must_be_gone(pids), label="shares are gone", timeout=60)
