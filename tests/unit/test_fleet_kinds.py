"""Whatever a fleet file is or holds: a fleet, or a line that says where it is wrong."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fixtures.errors import UsageError
from fixtures.fleet.load import load_fleet

ATLAS = (Path(__file__).parents[2] / "fleets" / "atlas.yaml").read_text()

VALUES = [
    *("~", "[]", "{}", "''", ".nan", ".inf", "-1", "1e999", "9" * 5000, "0472", "1:30", "yes"),
    *("2026-11-01", "2026-99-99", "!!binary x", "!!set {a}", "!!python/object:os.system x"),
    *("!!float x", "!!int 0x", "!!timestamp 1", "'\\ud800'", '"\\ud800"', '"\\x1b[2J"', "&a [*a]"),
    *("*gone", "<<: {}", "[" * 200, "{a: " * 200, "|\n  x", "> ", "\t", "%d", "@x", "`", "\x07"),
    *("!!str 5", "!<tag:x,y> z", "0x1F", "0b1", "1_0", "+1", "- - -", "? x", "null", "=", "'6M'"),
]


def is_told(path: Path) -> bool:
    """Whether the file is refused in words; a fleet is no fault either."""
    try:
        load_fleet(path)
    except UsageError as error:
        assert str(path) in error.message and len(error.message) < 20_000
        assert error.message.isprintable() or "\n" in error.message
        return True
    return False


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\x7fELF\x02\x01\x01" + bytes(range(256)),
        b"\xff\xfen\0a\0m\0e\0",
        b"x" * (2 << 20),
        b"[" * 100_000,
        b"{" * 100_000,
        b"- " * 100_000,
        b"a: " * 1000,
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        b"<<: {a: 1}\n",
        b"name: .nan\n",
        b"--- a\n--- b\n",
        b"17",
        b"!!python/object/apply:os.system [id]",
        b"%YAML 9.9\n--- {}\n",
        b"\x1b]0;title\x07: x\n",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_fleet_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_bytes(content)
    assert is_told(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("", "none", "pipe", "loop", "x" * 300, "pipe/x"):
        assert is_told(tmp_path / name)
    assert is_told(Path("/dev/zero")) and is_told(Path("/proc/self/mem"))


def test_any_value_in_any_place_is_taken_or_told(tmp_path: Path) -> None:
    """A sample: each value in several places of the fleet file that users begin with."""
    lines, path, chosen = ATLAS.splitlines(), tmp_path / "fleet.yaml", random.Random(17)
    places = [at for at, line in enumerate(lines) if ": " in line and "#" not in line]
    refused = 0
    for value in VALUES:
        for at in chosen.sample(places, 3):
            changed = [*lines]
            changed[at] = f"{changed[at].split(': ')[0]}: {value}"
            path.write_text("\n".join(changed), errors="surrogatepass")
            refused += is_told(path)
    assert refused > 2 * len(VALUES)
