"""The rules of the house as functions over source text: each returns what breaks it."""

import ast
import itertools

CONTROL = (
    ast.If,
    ast.IfExp,
    ast.Match,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Try,
    ast.TryStar,
)
DISPLAYS = (ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Compare)
MISPLACED = "its message is an expectation: a comma in the place of =="


def asserts_that_cannot_fail(source):
    """Asserts whose test is always true, or whose expectation sits in the message."""
    return [
        f"line {node.lineno}: {why}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert) and (why := _why_it_cannot_fail(node))
    ]


def _why_it_cannot_fail(node):
    if why := _why_always_true(node.test):
        return why
    if isinstance(node.msg, DISPLAYS):
        return MISPLACED
    if isinstance(node.msg, ast.Constant) and not isinstance(node.msg.value, str):
        return MISPLACED
    return None


def _why_always_true(test):
    if isinstance(test, ast.Tuple):
        return "a tuple is always true"
    if isinstance(test, (ast.List, ast.Set, ast.Dict, ast.JoinedStr, ast.Lambda, ast.GeneratorExp)):
        return f"a {type(test).__name__} is true by its form"
    if isinstance(test, ast.Constant):
        return "a constant"
    if isinstance(test, ast.IfExp):
        return "a conditional expression: its precedence swallows the comparison"
    if isinstance(test, ast.UnaryOp) and isinstance(test.operand, ast.Constant):
        return "a constant"
    if isinstance(test, ast.BoolOp):
        whys = [why for value in test.values if (why := _why_always_true(value))]
        return f"part of it: {whys[0]}" if whys else None
    if isinstance(test, ast.Compare):
        sides = [ast.dump(side) for side in (test.left, *test.comparators)]
        if any(left == right for left, right in itertools.pairwise(sides)):
            return "a thing compared with itself"
    return None


def faults_of_a_drill(source):
    """What keeps a drill file from being read aloud as a runbook."""
    tree, faults = ast.parse(source), []
    if not (ast.get_docstring(tree) or "").startswith("Runbook"):
        faults.append("its docstring does not open with the runbook's section")
    for node in ast.walk(tree):
        if isinstance(node, CONTROL):
            faults.append(f"line {node.lineno}: {type(node).__name__}")
        if isinstance(node, ast.Import) and [alias.name for alias in node.names] != ["pytest"]:
            faults.append(f"line {node.lineno}: imports {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom):
            faults.append(f"line {node.lineno}: imports {ast.unparse(node)}")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and length(node) > 25:
            faults.append(f"{node.name} has {length(node)} lines")
    return faults


def bare_skips(source):
    """Skips and expected failures without a reason."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {id(call.func) for call in calls}
    faults = [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in calls
        if _skips(call.func) and not _has_a_reason(call)
    ]
    faults += [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and id(node) not in called and _skips(node)
    ]
    return faults


def _skips(node):
    owner, _, name = ast.unparse(node).rpartition(".")
    return name in ("skip", "skipif", "xfail") and owner in ("pytest", "pytest.mark", "mark")


def _has_a_reason(call):
    reasons = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if ast.unparse(call.func) in ("pytest.skip", "pytest.xfail"):
        reasons += call.args[:1]
    return any(not (isinstance(one, ast.Constant) and not one.value) for one in reasons)


def swallowed(source):
    """Exceptions that vanish: bare `except`, a handler that is only `pass`, too wide a suppress."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _is_empty(node.body)):
            faults.append(f"line {node.lineno}: except")
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            wide = {ast.unparse(arg) for arg in node.args} & {"Exception", "BaseException"}
            faults += [f"line {node.lineno}: suppress({name})" for name in sorted(wide)]
    return faults


def _is_empty(body):
    return all(
        isinstance(step, ast.Pass)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        for step in body
    )


def length(function):
    """Lines of a function's body, without its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(source, most=40):
    """Functions that do not fit into the head."""
    return [
        f"{node.name}: {length(node)} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and length(node) > most
    ]


def prints(source):
    """Calls of `print` outside of `if __name__ == "__main__":`."""
    tree = ast.parse(source)
    entry = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and id(node) not in entry
    ]


def pylxd_imports(source):
    """Imports of pylxd, whose nodes are `Any` to mypy: only `incus/client.py` may have them."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "pylxd" in ast.unparse(node)
    ]


def without_twin(drills, twins):
    """Drill files that no sabotage of the same name proves able to fail."""
    return sorted({name for name in drills if name.startswith("test_")} - set(twins))
