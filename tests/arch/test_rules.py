"""The rules of the house hold in the tree, and each of them is seen red on a bad snippet."""

import subprocess
from pathlib import Path

import pytest

import tests.arch.registries as registries
import tests.arch.rules as rules

ROOT = Path(__file__).resolve().parents[2]
DRILLS = sorted((ROOT / "drills").glob("*.py"))
ENGINE = sorted((ROOT / "fixtures").rglob("*.py"))
PYLXD = ("incus", "client.py")
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def found(rule, files):
    return [
        f"{file.relative_to(ROOT)}: {fault}" for file in files for fault in rule(file.read_text())
    ]


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        (rules.asserts_that_cannot_fail, DRILLS + ENGINE + TESTS),
        (rules.faults_of_a_drill, DRILLS),
        (rules.bare_skips, DRILLS + TESTS),
        (rules.swallowed, DRILLS + ENGINE + TESTS),
        (rules.long_functions, ENGINE),
        (rules.prints, [file for file in ENGINE if file.name != "__main__.py"]),
        (rules.pylxd_imports, [file for file in ENGINE if file.parts[-2:] != PYLXD]),
    ],
    ids=lambda value: getattr(value, "__name__", "files"),
)
def test_the_rule_holds(rule, files):
    assert files
    assert found(rule, files) == []


@pytest.mark.parametrize(
    ("rule", "snippet"),
    [
        (rules.asserts_that_cannot_fail, "assert (x, 'message')"),
        (rules.asserts_that_cannot_fail, "assert True"),
        (rules.asserts_that_cannot_fail, "assert not False"),
        (rules.asserts_that_cannot_fail, "assert 'text'"),
        (rules.asserts_that_cannot_fail, "assert f'{x}'"),
        (rules.asserts_that_cannot_fail, "assert [x]"),
        (rules.asserts_that_cannot_fail, "assert lambda: x"),
        (rules.asserts_that_cannot_fail, "assert (x == y for y in z)"),
        (rules.asserts_that_cannot_fail, "assert len(x) == 0 if flag else len(files)"),
        (rules.asserts_that_cannot_fail, "assert x or True"),
        (rules.asserts_that_cannot_fail, "assert x == 'a' or 'b'"),
        (rules.asserts_that_cannot_fail, "assert x == x"),
        (rules.asserts_that_cannot_fail, "assert 0 < x <= x"),
        (rules.asserts_that_cannot_fail, "assert listing, ['a']"),
        (rules.asserts_that_cannot_fail, "assert listing, 3"),
        (rules.asserts_that_cannot_fail, "assert listing, x == 3"),
        (rules.faults_of_a_drill, "import pytest"),
        (rules.faults_of_a_drill, "'''Runbook'''\nimport os"),
        (rules.faults_of_a_drill, "'''Runbook'''\nfrom os import path"),
        (rules.faults_of_a_drill, "'''Runbook'''\nfrom fixtures import pytest"),
        (rules.faults_of_a_drill, "'''Runbook'''\nif x: pass"),
        (rules.faults_of_a_drill, "'''Runbook'''\nfor x in y: x"),
        (rules.faults_of_a_drill, "'''Runbook'''\nany(x for x in y)"),
        (rules.faults_of_a_drill, "'''Runbook'''\ntry: x\nfinally: y"),
        (rules.faults_of_a_drill, "'''Runbook'''\ndef f():\n" + "    x()\n" * 26),
        (rules.bare_skips, "import pytest\n@pytest.mark.skip\ndef f(): x"),
        (rules.bare_skips, "import pytest\npytestmark = pytest.mark.xfail"),
        (rules.bare_skips, "import pytest\n@pytest.mark.xfail(strict=True)\ndef f(): x"),
        (rules.bare_skips, "import pytest\n@pytest.mark.skipif(x, reason='')\ndef f(): x"),
        (rules.bare_skips, "import pytest\npytest.skip()"),
        (rules.bare_skips, "import pytest\npytest.skip('')"),
        (rules.swallowed, "try: x\nexcept: y"),
        (rules.swallowed, "try: x\nexcept OSError: pass"),
        (rules.swallowed, "try: x\nexcept OSError: ..."),
        (rules.swallowed, "with contextlib.suppress(Exception): x"),
        (rules.long_functions, "def f():\n" + "    x()\n" * 41),
        (rules.prints, "print('x')"),
        (rules.pylxd_imports, "import pylxd.client as p"),
        (rules.pylxd_imports, "from pylxd import Client"),
    ],
)
def test_the_rule_is_seen_red(rule, snippet):
    assert rule(snippet)


@pytest.mark.parametrize(
    ("rule", "snippet"),
    [
        (rules.asserts_that_cannot_fail, "assert x == y, f'{x}'\nassert x or y\nassert not x"),
        (rules.faults_of_a_drill, "'''Runbook'''\nimport pytest\ndef f():\n" + "    x()\n" * 25),
        (
            rules.bare_skips,
            "import pytest\npytest.skip('why')\n@pytest.mark.skip(reason='y')\ndef f(): x",
        ),
        (rules.bare_skips, "import pytest\npytest.skip(f'no {x}')"),
        (rules.swallowed, "try: x\nexcept OSError: y\nwith contextlib.suppress(OSError): x"),
        (rules.long_functions, "def f():\n    '''\n" + "\n" * 9 + "    '''\n" + "    x()\n" * 40),
        (rules.prints, "console.print('x')\nif __name__ == '__main__':\n    print('x')"),
    ],
)
def test_the_rule_lets_good_code_pass(rule, snippet):
    assert rule(snippet) == []


def test_every_drill_has_a_sabotaged_twin():
    drills = [path.name for path in DRILLS]
    assert drills
    rooms = (ROOT / "tests" / name for name in ("sabotage", "runbook"))
    twins = [path.name for room in rooms for path in room.glob("test_*.py")]
    assert rules.without_twin(drills, twins) == []


def test_a_drill_without_a_twin_is_seen():
    assert rules.without_twin(["test_a.py", "test_b.py"], ["test_a.py"]) == ["test_b.py"]


def texts():
    """Text files of the tree, tracked or not yet; what git ignores is not the project's."""
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")
    contents = {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}
    return {name: data.decode(errors="replace") for name, data in contents.items()}


def test_no_registry_is_named():
    hosts = registries.configured()
    assert hosts, "this machine names no registry: nothing was looked at"
    for host in hosts:
        assert registries.named(f"deb http://{host}/debian trixie main", hosts) == [host]
    seen = {name: hits for name, text in texts().items() if (hits := registries.named(text, hosts))}
    assert seen == {}


def test_pips_default_is_among_the_registries(monkeypatch):
    monkeypatch.setattr(registries, "_apt", lambda kind: [])
    monkeypatch.setattr(registries.shutil, "which", lambda program: None)
    assert registries.configured()


def test_hosts_are_found_in_what_machines_say():
    said = "URIs: http://one.test/debian\nhttps://two.test/simple,https://me:pw@three.test|direct"
    assert registries.hosts_in(said) == {"one.test", "two.test", "three.test"}
    assert registries.hosts_in("deb http://127.0.0.1:3142/debian http://mirror/debian") == set()
