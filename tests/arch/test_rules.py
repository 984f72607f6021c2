"""The rules of the house hold in the tree, and each of them is seen red on a bad snippet."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tests.arch.rules as rules

ROOT = Path(__file__).resolve().parents[2]
DRILLS = sorted((ROOT / "drills").glob("*.py"))
ENGINE = sorted((ROOT / "fixtures").rglob("*.py"))
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
        (rules.prints, [file for file in ENGINE if file.name not in ("__main__.py", "schema.py")]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_rule_holds(rule, files):
    assert files
    assert found(rule, files) == []


@pytest.mark.parametrize(
    ("rule", "snippet"),
    [
        (rules.asserts_that_cannot_fail, "assert (x, 'message')"),
        (rules.asserts_that_cannot_fail, "assert True"),
        (rules.asserts_that_cannot_fail, "assert len(x) == 0 if flag else len(files)"),
        (rules.asserts_that_cannot_fail, "assert x or True"),
        (rules.asserts_that_cannot_fail, "assert x == x"),
        (rules.asserts_that_cannot_fail, "assert listing, ['a']"),
        (rules.asserts_that_cannot_fail, "assert listing, 3"),
        (rules.faults_of_a_drill, "import pytest"),
        (rules.faults_of_a_drill, "'''Runbook'''\nimport os"),
        (rules.faults_of_a_drill, "'''Runbook'''\nif x: pass"),
        (rules.faults_of_a_drill, "'''Runbook'''\ntry: x\nfinally: y"),
        (rules.faults_of_a_drill, "'''Runbook'''\ndef f():\n" + "    x()\n" * 26),
        (rules.bare_skips, "import pytest\n@pytest.mark.skip\ndef f(): x"),
        (rules.bare_skips, "import pytest\n@pytest.mark.xfail(strict=True)\ndef f(): x"),
        (rules.bare_skips, "import pytest\npytest.skip()"),
        (rules.swallowed, "try: x\nexcept: y"),
        (rules.swallowed, "try: x\nexcept OSError: pass"),
        (rules.long_functions, "def f():\n" + "    x()\n" * 41),
        (rules.prints, "print('x')"),
    ],
)
def test_the_rule_is_seen_red(rule, snippet):
    assert rule(snippet)


def test_every_drill_has_a_sabotaged_twin():
    drills = {path.name for path in DRILLS if path.name.startswith("test_")}
    assert drills
    assert drills <= {path.name for path in (ROOT / "tests" / "sabotage").glob("test_*.py")}


def test_files_fit_into_the_head():
    long = {str(p.relative_to(ROOT)): n for p in ENGINE if (n := p.read_text().count("\n")) > 300}
    assert long == {}


def registries():
    """Host names of the registries that this machine is configured for."""
    texts = [path.read_text() for path in Path("/etc/apt").rglob("*.list")]
    texts += [path.read_text() for path in Path("/etc/apt").rglob("*.sources")]
    for path in (Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf"):
        if path.exists():
            parser = configparser.ConfigParser()
            parser.read(path)
            texts += [value for section in parser.sections() for _, value in parser.items(section)]
    texts += [value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "GOPROXY")]
    if shutil.which("go"):
        texts.append(subprocess.check_output(["go", "env", "GOPROXY"], text=True))
    urls = re.findall(r"https?://[^\s,|\]]+", "\n".join(texts))
    return {host for url in urls if (host := urlsplit(url).hostname) and "." in host}


def named(text, hosts):
    return sorted(host for host in hosts if host in text)


def test_no_registry_is_named():
    hosts = registries()
    assert hosts, "this machine names no registry: nothing was looked at"
    files = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True
    ).splitlines()
    seen = {
        name: hits
        for name in files
        if (ROOT / name).is_file()
        and (hits := named((ROOT / name).read_text(errors="replace"), hosts))
    }
    assert seen == {}


def test_a_named_registry_is_seen():
    hosts = registries()
    assert named(f"deb http://{sorted(hosts)[0]}/debian trixie main", hosts)
