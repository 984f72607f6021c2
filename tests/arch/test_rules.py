"""The rules of the house hold in the tree, and each of them is seen red on a bad snippet."""

from functools import cache
from pathlib import Path

import pytest

import tests.arch.rules as rules

ROOT = Path(__file__).resolve().parents[2]
DRILLS = sorted((ROOT / "drills").glob("*.py"))
ENGINE = sorted((ROOT / "fixtures").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILES = {
    rules.asserts_that_cannot_fail: DRILLS + ENGINE + TESTS,
    rules.faults_of_a_drill: DRILLS,
    rules.bare_skips: DRILLS + TESTS,
    rules.swallowed: DRILLS + ENGINE + TESTS,
    rules.long_functions: ENGINE,
    rules.prints: [file for file in ENGINE if file.name != "__main__.py"],
    rules.pylxd_imports: [file for file in ENGINE if file.parts[-2:] != ("incus", "client.py")],
}


@cache
def seen():
    """Rule -> file -> faults; by file, so that each is parsed once for all rules."""
    files = {rule: set(files) for rule, files in FILES.items()}
    found = {rule: {} for rule in files}
    for file in set().union(*files.values()):
        text = file.read_text()
        for rule in [rule for rule in files if file in files[rule]]:
            found[rule][str(file.relative_to(ROOT))] = rule(text)
    return found


@pytest.mark.parametrize("rule", FILES)
def test_the_rule_holds(rule):
    faults = seen()[rule]
    assert len(faults) == len(FILES[rule]) > 0
    assert {file: found for file, found in faults.items() if found} == {}


BAD = {
    rules.asserts_that_cannot_fail: [
        *("assert (x, 'message')", "assert True", "assert not False", "assert 'text'"),
        *("assert f'{x}'", "assert [x]", "assert lambda: x", "assert (x == y for y in z)"),
        *("assert len(x) == 0 if flag else len(files)", "assert x or True"),
        *("assert x == 'a' or 'b'", "assert x == x", "assert 0 < x <= x"),
        *("assert listing, ['a']", "assert listing, 3", "assert listing, x == 3"),
    ],
    rules.faults_of_a_drill: [
        "import pytest",
        *(
            f"'''Runbook'''\n{code}"
            for code in (
                *("import os", "from os import path", "from fixtures import pytest"),
                *("if x: pass", "for x in y: x", "any(x for x in y)", "try: x\nfinally: y"),
                "def f():\n" + "    x()\n" * 26,
            )
        ),
    ],
    rules.bare_skips: [
        *("@pytest.mark.skip\ndef f(): x", "pytestmark = pytest.mark.xfail"),
        "@pytest.mark.xfail(strict=True)\ndef f(): x",
        "@pytest.mark.skipif(x, reason='')\ndef f(): x",
        *("pytest.skip()", "pytest.skip('')"),
    ],
    rules.swallowed: [
        *("try: x\nexcept: y", "try: x\nexcept OSError: pass", "try: x\nexcept OSError: ..."),
        "with contextlib.suppress(OSError, Exception): x",
    ],
    rules.long_functions: ["def f():\n" + "    x()\n" * 41],
    rules.prints: ["print('x')"],
    rules.pylxd_imports: ["import pylxd.client as p", "from pylxd import Client"],
}
GOOD = {
    rules.asserts_that_cannot_fail: "assert x == y, f'{x}'\nassert x or y\nassert not x",
    rules.faults_of_a_drill: "'''Runbook'''\nimport pytest\ndef f():\n" + "    x()\n" * 25,
    rules.bare_skips: "pytest.skip(f'no {x}')\n@pytest.mark.skip(reason='y')\ndef f(): x",
    rules.swallowed: "try: x\nexcept OSError: y\nwith contextlib.suppress(OSError): x",
    rules.long_functions: "def f():\n    '''\n" + "\n" * 9 + "    '''\n" + "    x()\n" * 40,
    rules.prints: "console.print('x')\nif __name__ == '__main__':\n    print('x')",
    rules.pylxd_imports: "import requests",
}


@pytest.mark.parametrize("rule", FILES)
def test_the_rule_is_seen_red_and_lets_good_code_pass(rule):
    assert [snippet for snippet in BAD[rule] if not rule(snippet)] == []
    assert rule(GOOD[rule]) == []


def test_every_drill_has_a_sabotaged_twin():
    rooms = ((ROOT / "tests" / name).glob("test_*.py") for name in ("sabotage", "runbook"))
    twins = {path.name for room in rooms for path in room}
    drills = {path.name for path in DRILLS if path.name.startswith("test_")}
    assert drills - twins == set()
    assert len(drills) > 10
