"""Pytest plugin: what each drill takes of this process, while the run goes on as ever.

`-p benchmarks.each_drill` with `ATLAS_EACH_DRILL=FILE`: a line of JSON for each test, from the
begin of its set-up to the end of its teardown, with all that is recorded and told of it.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


def processor_seconds() -> float:
    """Seconds of processor time of this process, its threads, and its children that have ended.

    Source: getrusage(2).
    """
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Measure one test; in seconds."""
    begun, used = time.monotonic(), processor_seconds()
    result = yield
    took = {"wall": time.monotonic() - begun, "cpu": processor_seconds() - used}
    with Path(os.environ["ATLAS_EACH_DRILL"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": item.name, **took}) + "\n")
    return result
