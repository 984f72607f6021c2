"""Rules over the modules of the engine as a whole: who imports whom, and which words they use."""

import ast
import re


def module_of(path, root):
    """Return the dotted name of a file below `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, modules):
    """Return those of `modules` that a source imports, also where only types are checked."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & modules) or {node.module}
            if any(f"{node.module}.{alias.name}" not in modules for alias in node.names):
                found.add(node.module)
    return found & modules


def cycle_in(graph):
    """Return one circle of imports, or nothing."""
    done = set()

    def visit(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(graph.get(module, ())):
            if found := visit(imported, [*path, module]):
                return found
        done.add(module)
        return []

    for module in sorted(graph):
        if found := visit(module, []):
            return found
    return []


def lonely(graph, docstrings):
    """Return modules with one importer that do not say why (a file of its own: ...)."""
    importers = {
        module: [other for other, imported in graph.items() if module in imported]
        for module in graph
    }
    return [
        f"{module} (by {found[0]})"
        for module, found in sorted(importers.items())
        if len(found) == 1 and "a file of its own: " not in docstrings[module]
    ]


def words_of(source):
    """Return the words, in lower case, of which the names of a source are made."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                names.add(value)
    words = set()
    for name in names:
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        words |= set(spaced.lower().replace(".", "_").split("_"))
    return words


def retired_words(glossary):
    """Return the words that the glossary's second table retires."""
    table = glossary.partition("## Retired words")[2]
    rows = re.findall(r"^\| ([a-z, ]+) \|", table, re.MULTILINE)
    return {word.strip() for row in rows for word in row.split(",")} - {"retired"}
