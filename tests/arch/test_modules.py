"""The engine's modules: no circle, no lonely module without a reason, no retired word."""

import ast
import re
from pathlib import Path

import pytest

import tests.arch.modules as rules

ROOT = Path(__file__).resolve().parents[2]
FILES = {rules.module_of(path, ROOT): path for path in sorted((ROOT / "fixtures").rglob("*.py"))}
GRAPH = {
    name: rules.imports_of(path.read_text(), set(FILES)) - {name} for name, path in FILES.items()
}
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def test_no_module_imports_itself_by_others():
    assert rules.cycle_in(GRAPH) == []
    assert rules.cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_a_module_with_one_importer_says_why():
    docstrings = {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
        for name, path in FILES.items()
    }
    # pytest loads the plugin's modules by name, and the registry is a table of classes.
    graph = {
        name: imported
        for name, imported in GRAPH.items()
        if name not in ("fixtures.services.registry", "fixtures.plugin")
    }
    assert rules.lonely(graph, docstrings) == []
    assert rules.lonely({"a": {"b"}, "b": set()}, {"a": "", "b": "Read."}) == ["b (by a)"]


def test_no_name_has_a_retired_word():
    retired = rules.retired_words(GLOSSARY)
    assert {"told", "doorway", "holdings"} <= retired
    found = {
        name: words
        for name, path in FILES.items()
        if (words := rules.words_of(path.read_text()) & retired)
    }
    assert found == {}
    assert rules.words_of("def toldTo(way): x.hang_up = 1") >= {"told", "way", "hang", "up"}


@pytest.mark.parametrize("table", ["| word | meaning | from |"])
def test_the_glossary_has_forty_terms_or_fewer(table):
    terms = GLOSSARY.partition(table)[2].partition("\n## ")[0]
    assert 20 <= len(re.findall(r"^\| (?!-)", terms, re.MULTILINE)) <= 40
