"""The table of README.md, made from the results files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, goal_of, number

BEGIN = "<!-- made by `python -m benchmarks --table` from benchmarks/results/ -->"
END = "<!-- end of the table -->"

MET = {True: "yes", False: "**no**", None: ""}


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown: one row a figure."""
    lines = [
        "| figure | against | min | median | max | unit | goal | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        for figure in map(Figure.from_json, result["figures"]):
            seen = {key: number(value) for key, value in figure.statistics.items()}
            lines.append(
                f"| {name}: {figure.what} | {figure.against} | {seen['min']} | {seen['median']} | "
                f"{seen['max']} | {figure.unit} | {goal_of(figure)} | {MET[figure.met]} |"
            )
    return lines


def filled(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: the page has not both marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} and {END}")
    return "\n".join([head + begin, *rows(results), end + tail])


def write(results: Mapping[str, Mapping[str, Any]], page: Path = ROOT / "README.md") -> None:
    """Put the table into README.md."""
    page.write_text(filled(page.read_text("utf-8"), results), encoding="utf-8")
