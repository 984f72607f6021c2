"""The host's limit of inotify instances is raised for labs, and given back by the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.lab.host import WANTED, give_back, is_inhabited, make_room


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    file = tmp_path / "max_user_instances"
    file.write_text("128\n")
    return file


def test_the_last_lab_gives_back_what_the_first_found(limit: Path, tmp_path: Path) -> None:
    make_room(limit, tmp_path)
    make_room(limit, tmp_path)
    assert int(limit.read_text()) == WANTED
    give_back(lambda: True, limit, tmp_path)
    assert int(limit.read_text()) == WANTED
    give_back(lambda: False, limit, tmp_path)
    assert int(limit.read_text()) == 128
    assert not (tmp_path / "inotify-before").exists()


def test_what_an_administrator_set_meanwhile_stays(limit: Path, tmp_path: Path) -> None:
    make_room(limit, tmp_path)
    limit.write_text("4096")
    give_back(lambda: False, limit, tmp_path)
    assert limit.read_text() == "4096"


def test_a_larger_limit_is_left_alone(limit: Path, tmp_path: Path) -> None:
    limit.write_text("1048576")
    make_room(limit, tmp_path)
    give_back(lambda: False, limit, tmp_path)
    assert limit.read_text() == "1048576"


def test_each_limit_is_remembered_by_itself(limit: Path, tmp_path: Path) -> None:
    keys = tmp_path / "maxkeys"
    keys.write_text("200\n")
    make_room(limit, tmp_path)
    make_room(keys, tmp_path, wanted=2000)
    assert int(keys.read_text()) == 2000
    give_back(lambda: False, keys, tmp_path, wanted=2000)
    assert (int(keys.read_text()), int(limit.read_text())) == (200, WANTED)
    give_back(lambda: False, limit, tmp_path)
    assert int(limit.read_text()) == 128


def test_a_host_that_refuses_keeps_its_own(tmp_path: Path) -> None:
    make_room(tmp_path / "no" / "limit", tmp_path)
    assert not (tmp_path / "inotify-before").exists()


def test_a_cgroup_that_was_left_behind_is_no_lab(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert [is_inhabited(tmp_path / name) for name in ("left", "lab", "gone")] == [
        False,
        True,
        False,
    ]
