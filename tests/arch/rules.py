"""The rules of the house as functions over source text: each returns what breaks it."""

import ast
import itertools
import re
from functools import lru_cache

CONTROL = (
    *(ast.If, ast.IfExp, ast.Match, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DISPLAYS = (ast.List, ast.Tuple, ast.Dict, ast.Set)
TRUE_BY_FORM = (*DISPLAYS, ast.JoinedStr, ast.Lambda, ast.GeneratorExp, ast.Constant, ast.IfExp)
SKIPS = ("skip", "skipif", "xfail")
PYTEST = ("pytest", "pytest.mark", "mark")


def nodes(source, *kinds):
    """Nodes of these kinds of a source text, or of a tree."""
    every = all_nodes(source) if isinstance(source, str) else ast.walk(source)
    return [node for node in every if isinstance(node, kinds)]


@lru_cache(maxsize=1)
def all_nodes(source):
    """One file is parsed once for all rules."""
    return list(ast.walk(ast.parse(source)))


def asserts_that_cannot_fail(source):
    """Asserts whose test is always true, or whose expectation sits in the message."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in nodes(source, ast.Assert)
        if _is_always_true(node.test) or _is_an_expectation(node.msg)
    ]


def _is_an_expectation(message):
    """`assert found, ["a"]`: a comma in the place of ==."""
    if isinstance(message, ast.Constant):
        return not isinstance(message.value, str)
    return isinstance(message, (*DISPLAYS, ast.Compare))


def _is_always_true(test):
    """By its form, as `a if b else c == d` is in its part `a`; or a thing compared with itself."""
    if isinstance(test, ast.UnaryOp):
        return isinstance(test.operand, ast.Constant)
    if isinstance(test, ast.BoolOp):
        return any(map(_is_always_true, test.values))
    if isinstance(test, ast.Compare):
        sides = [ast.dump(side) for side in (test.left, *test.comparators)]
        return any(left == right for left, right in itertools.pairwise(sides))
    return isinstance(test, TRUE_BY_FORM)


def faults_of_a_drill(source):
    """What keeps a drill file from being read aloud as a runbook."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    faults = [] if docstring.startswith("Runbook") else ["its docstring has no runbook's section"]
    faults += [f"line {node.lineno}: {type(node).__name__}" for node in nodes(source, *CONTROL)]
    imports = [ast.unparse(node) for node in nodes(source, ast.Import, ast.ImportFrom)]
    return faults + [one for one in imports if one != "import pytest"] + long_functions(source, 25)


def bare_skips(source):
    """Skips and expected failures without a reason."""
    calls = {id(call.func): call for call in nodes(source, ast.Call)}
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in nodes(source, ast.Attribute)
        if node.attr in SKIPS and ast.unparse(node.value) in PYTEST
        if id(node) not in calls or not _has_a_reason(calls[id(node)])
    ]


def _has_a_reason(call):
    reasons = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if ast.unparse(call.func.value) == "pytest":
        reasons += call.args[:1]
    return any(not isinstance(one, ast.Constant) or one.value for one in reasons)


def swallowed(source):
    """Exceptions that vanish: a handler that does nothing, too wide a suppress."""
    faults = [
        f"line {node.lineno}: except"
        for node in nodes(source, ast.ExceptHandler)
        if node.type is None or all(map(_does_nothing, node.body))
    ]
    suppressed = [
        ast.unparse(node)
        for node in nodes(source, ast.Call)
        if getattr(node.func, "attr", getattr(node.func, "id", "")) == "suppress"
    ]
    return faults + [call for call in suppressed if re.search(r"\b(Base)?Exception\b", call)]


def _does_nothing(step):
    is_constant = isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)
    return is_constant or isinstance(step, ast.Pass)


def long_functions(source, most=40):
    """Functions that do not fit into the head; a docstring does not count."""
    found = []
    for node in nodes(source, *FUNCTIONS):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body and (length := body[-1].end_lineno - body[0].lineno + 1) > most:
            found.append(f"{node.name}: {length} lines")
    return found


def prints(source):
    """Calls of `print` outside of `if __name__ == "__main__":`."""
    entry = {
        id(inner)
        for node in nodes(source, ast.If)
        if "__name__" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return [
        f"line {node.lineno}"
        for node in nodes(source, ast.Call)
        if getattr(node.func, "id", "") == "print" and id(node) not in entry
    ]


def pylxd_imports(source):
    """Imports of pylxd, whose nodes are `Any` to mypy: only `incus/client.py` may have them."""
    imports = map(ast.unparse, nodes(source, ast.Import, ast.ImportFrom))
    return [each for each in imports if "pylxd" in each]
