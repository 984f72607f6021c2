"""Pytest plugin: in the place of the drills, tests that bring synthetic records and touch no Incus.

`-p benchmarks.scale_plugin` with `ATLAS_SCALE_DRILLS=10000`: everything else of a run of
`pytest drills` happens as ever (journal, evidence, history, JUnit, metrics, page).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.scale_records import records
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.record import DrillRecord


class Synthetic(pytest.Item):
    """A test whose drill is already on record."""

    source: Iterator[DrillRecord]
    drill: DrillRecord | None = None

    def runtest(self) -> None:
        """As the drill ended."""
        self.drill = next(self.source)
        verdict = judge_drill(self.drill)
        if not verdict.is_pass:
            pytest.fail(f"{verdict}: {self.drill.reason}", pytrace=False)

    def reportinfo(self) -> Any:
        """Where it is, for the list of tests."""
        return self.path, None, self.name


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Exchange the collected drills for synthetic ones."""
    drills = int(os.environ["ATLAS_SCALE_DRILLS"])
    parent, source = items[0].parent, records(drills)
    items.clear()
    for number in range(drills):
        item = Synthetic.from_parent(parent, name=f"test_drill[{number:05d}]")
        item.source = source
        items.append(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """The record comes with the report of the teardown, as that of a real drill does."""
    report = yield
    if call.when == "teardown" and isinstance(item, Synthetic) and item.drill is not None:
        report.user_properties.append(("drill", item.drill.model_dump_json()))
        # A real drill's own record is gone with its fixtures.
        item.drill = None
    return report
