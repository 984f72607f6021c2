"""The rules of the house as functions over source text: each returns what breaks it."""

from __future__ import annotations

import ast

LOOPS = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.ListComp, ast.Match)


def asserts_that_cannot_fail(source: str) -> list[str]:
    """Asserts whose test is always true, or whose expectation sits in the message."""
    return [
        f"line {node.lineno}: {why}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert) and (why := _why_it_cannot_fail(node))
    ]


def _why_it_cannot_fail(node: ast.Assert) -> str | None:
    test, message = node.test, node.msg
    if isinstance(test, ast.Tuple) and test.elts:
        return "a tuple is always true"
    if isinstance(test, ast.Constant):
        return "a constant"
    if isinstance(test, ast.IfExp):
        return "a conditional expression: its precedence swallows the comparison"
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        if any(isinstance(value, ast.Constant) and value.value for value in test.values):
            return "`or` with a constant"
    if isinstance(test, ast.Compare) and ast.dump(test.left) == ast.dump(test.comparators[0]):
        return "a thing compared with itself"
    if isinstance(message, (ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Compare)):
        return "its message is an expectation: a comma in the place of =="
    if isinstance(message, ast.Constant) and not isinstance(message.value, str):
        return "its message is an expectation: a comma in the place of =="
    return None


def faults_of_a_drill(source: str) -> list[str]:
    """What keeps a drill file from being read aloud as a runbook."""
    tree, faults = ast.parse(source), []
    if "Runbook" not in (ast.get_docstring(tree) or ""):
        faults.append("its docstring names no section of the runbook")
    for node in ast.walk(tree):
        if isinstance(node, LOOPS):
            faults.append(f"line {node.lineno}: {type(node).__name__}")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None)
            if names != ["pytest"] and module != "__future__":
                faults.append(f"line {node.lineno}: imports {module or names}")
        if isinstance(node, ast.FunctionDef) and length(node) > 25:
            faults.append(f"{node.name} has {length(node)} lines")
    return faults


def bare_skips(source: str) -> list[str]:
    """Skips and expected failures without a reason."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name.endswith((".skip", ".skipif", ".xfail")) and "pytest" in name:
            has_reason = any(keyword.arg == "reason" for keyword in node.keywords)
            if not has_reason and not (name.endswith("pytest.skip") and node.args):
                faults.append(f"line {node.lineno}: {name}")
        elif isinstance(node, ast.Attribute) and node.attr in ("skip", "xfail"):
            if ast.unparse(node).startswith("pytest.mark") and not _is_called(source, node):
                faults.append(f"line {node.lineno}: {ast.unparse(node)}")
    return faults


def _is_called(source: str, attribute: ast.Attribute) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(
        isinstance(func, ast.Attribute)
        and (func.lineno, func.col_offset, func.attr)
        == (attribute.lineno, attribute.col_offset, attribute.attr)
        for func in calls
    )


def swallowed(source: str) -> list[str]:
    """Exceptions that vanish: bare `except`, or a handler that is only `pass`."""
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or [type(step) for step in node.body] == [ast.Pass])
    ]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, without its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(source: str, most: int = 40) -> list[str]:
    """Functions that do not fit into the head."""
    return [
        f"{node.name}: {length(node)} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and length(node) > most
    ]


def prints(source: str) -> list[str]:
    """Calls of `print`."""
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
