"""`docs/atlas-backup.sh` as shellcheck reads it; `./run tests` installs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.script.conftest import SCRIPT


def checked(script: Path) -> str:
    done = subprocess.run(
        ["shellcheck", "--severity=style", script], capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_shellcheck_finds_nothing() -> None:
    assert checked(SCRIPT) == ""


@pytest.mark.parametrize("line", ["rm -rf $RUN", "foo() { local x=$(false); }"])
def test_shellcheck_would_find_it(tmp_path: Path, line: str) -> None:
    spoilt = tmp_path / "spoilt.sh"
    spoilt.write_text(SCRIPT.read_text() + line + "\n")
    assert checked(spoilt) != ""


def test_it_dies_of_what_it_does_not_expect() -> None:
    text = SCRIPT.read_text()
    assert "set -Eeuo pipefail" in text
    assert "--force" not in text
