from __future__ import annotations

import pytest

from fixtures.incus.guard import DrillPolicy, GuardAdapter
from tests.guard.wire import BASE, RUN, Wire


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def guard(wire):
    return GuardAdapter(wire, BASE, DrillPolicy(RUN))
