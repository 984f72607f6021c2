"""The engine's modules: no circle, no lonely module without a reason, no retired word."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    module_of(path): ast.parse(path.read_text())
    for path in sorted((ROOT / "fixtures").rglob("*.py"))
}


def imports_of(tree, modules):
    """Return those of `modules` that a source imports, also where only types are checked."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= modules else {node.module, *names}
    return found & modules


GRAPH = {name: imports_of(tree, TREES.keys()) - {name} for name, tree in TREES.items()}


def test_no_module_imports_itself_by_others():
    TopologicalSorter(GRAPH).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"b"}}).prepare()


def lonely(graph, docstrings):
    """Modules with one importer that do not say why (a file of its own: ...)."""
    importers = {module: [each for each in graph if module in graph[each]] for module in graph}
    return {
        module: found
        for module, found in importers.items()
        if len(found) == 1 and "a file of its own: " not in docstrings[module].partition("\n\n")[0]
    }


def test_a_module_with_one_importer_says_why():
    docstrings = {name: ast.get_docstring(tree) or "" for name, tree in TREES.items()}
    # pytest loads the plugin's modules by name, and the registry is a table of classes.
    tables = ("fixtures.services.registry", "fixtures.plugin")
    assert lonely({name: GRAPH[name] for name in GRAPH if name not in tables}, docstrings) == {}
    assert lonely({"a": {"b"}, "b": set()}, {"a": "", "b": "Read."}) == {"b": ["a"]}


def words_of(tree):
    """Return the words, in lower case, of which the names of a source are made."""
    fields = ("id", "attr", "arg", "name", "asname")
    found = (getattr(node, field, None) for node in ast.walk(tree) for field in fields)
    names = " ".join(name for name in found if isinstance(name, str))
    return set(re.split(r"[ ._]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", names).lower()))


def test_no_name_has_a_retired_word():
    table = GLOSSARY.partition("## Retired words")[2]
    rows = re.findall(r"^\| ([a-z, ]+) \|", table, re.MULTILINE)
    retired = set(", ".join(rows).split(", ")) - {"retired"}
    assert {"told", "doorway", "holdings"} <= retired
    found = {name: words_of(tree) & retired for name, tree in TREES.items()}
    assert {name: words for name, words in found.items() if words} == {}
    assert words_of(ast.parse("def toldTo(way): x.hang_up = 1")) >= {"told", "way", "hang", "up"}


def test_the_glossary_has_forty_terms_or_fewer():
    terms = GLOSSARY.partition("| word | meaning | from |")[2].partition("\n## ")[0]
    assert 20 <= len(re.findall(r"^\| (?!-)", terms, re.MULTILINE)) <= 40
