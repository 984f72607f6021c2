"""The backups of the lab's source, as a copy that may be spoiled."""

import shutil
from dataclasses import replace

import pytest

from fixtures.plugin.fixtures import backup_locations, session_of


@pytest.fixture
def place(pytestconfig, drill_project, tmp_path):
    where = backup_locations(session_of(pytestconfig))
    return replace(where, places=(shutil.copytree(where.places[0], tmp_path / "backups"),))
