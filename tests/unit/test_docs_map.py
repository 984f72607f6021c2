"""The map of the runbook names every drill file, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_drill_is_on_the_map():
    named = set(re.findall(r"`(test_\w+\.py)`", (ROOT / "docs" / "runbook-map.md").read_text()))
    assert named == {path.name for path in (ROOT / "drills").glob("test_*.py")}
