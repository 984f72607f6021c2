"""`python -m tests`: every test is in one share, and a share that fails is the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.__main__ as all_tests

TESTS = Path(__file__).parents[1]


def test_every_directory_of_tests_is_in_one_share() -> None:
    there = {path.parent.name for path in TESTS.rglob("test_*.py")}
    shared = [directory for share in all_tests.SHARES.values() for directory in share]
    assert sorted(shared) == sorted(there)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two shares of one directory each, whose tests are given by the test."""
    monkeypatch.setattr(all_tests, "SHARES", {"one": ("a",), "two": ("b",)})
    monkeypatch.setenv("ATLAS_DRILLS_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for directory in "ab":
        (tmp_path / "tests" / directory).mkdir(parents=True)


def test_one_share_that_fails_fails_all_and_is_told_at_the_end(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests/a/test_a.py").write_text("def test_a():\n    assert 1 == 2\n")
    (tmp_path / "tests/b/test_b.py").write_text("def test_b():\n    pass\n")
    assert all_tests.main([]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("two: ") and "1 passed" in line for line in said)
    assert said[-2].startswith("FAILED tests/a/test_a.py::test_a")
    assert said[-1] == "tests: one ended with status 1, two ended with status 0"


def test_each_share_has_a_lab_of_its_own(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    see = "import os\n\n\ndef test():\n    assert os.environ['ATLAS_DRILLS_STATE'] == {!r}\n"
    for directory, name in (("a", "one"), ("b", "two")):
        code = see.format(str(tmp_path / "state" / name))
        (tmp_path / f"tests/{directory}/test_it.py").write_text(code)
    assert all_tests.main([]) == 0


def test_a_share_without_tests_is_no_pass(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests/a/test_a.py").write_text("def test_a():\n    pass\n")
    assert all_tests.main([]) != 0


def test_with_arguments_it_is_one_pytest(small: None, tmp_path: Path) -> None:
    (tmp_path / "tests/a/test_a.py").write_text("def test_a():\n    assert 1 == 2\n")
    (tmp_path / "tests/b/test_b.py").write_text("def test_b():\n    pass\n")
    assert all_tests.main(["tests/b"]) == 0
    assert all_tests.main(["-k", "test_a"]) == 1
