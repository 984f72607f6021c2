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

BOTH = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def processor_seconds(*whose: int) -> float:
    """Seconds of processor time.

    Source: getrusage(2).

    Args:
        whose: `RUSAGE_SELF`, this process with its threads; `RUSAGE_CHILDREN`, those of its
            children that have ended.
    """
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Measure one test; in seconds."""
    begun, used = time.monotonic(), processor_seconds(*BOTH)
    result = yield
    took = {"wall": time.monotonic() - begun, "cpu": processor_seconds(*BOTH) - used}
    with Path(os.environ["ATLAS_EACH_DRILL"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"test": item.name, **took}) + "\n")
    return result
