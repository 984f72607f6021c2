"""The backups of the lab's source, as a copy that may be spoiled."""

import shutil
from dataclasses import replace

import pytest

from fixtures.plugin.fixtures import backup_locations, session_of


@pytest.fixture(scope="module")
def place(pytestconfig, drill_project, tmp_path_factory):
    where = backup_locations(session_of(pytestconfig))
    copy = tmp_path_factory.mktemp("mutations") / "backups"
    shutil.copytree(where.places[0], copy)
    return replace(where, places=(copy,))
