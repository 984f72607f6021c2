"""Atlantis' class against the stand-in's own program: locks in a BoltDB, plans on the disk."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import CouldNotLook
from fixtures.incus.instance import CommandResult
from fixtures.services import atlantis as atlantis_class
from fixtures.services.atlantis import (
    Atlantis,
    Planned,
    canonical,
    database,
    known_by,
    plan_file,
    planned,
)
from fixtures.services.base import judge_canaries
from fixtures.services.http import Way
from fixtures.waiting import wait_until
from tests.unit.stand_ins import PROGRAMS, Loopback, Program, spec_of

EMPTY: dict[str, dict[bytes, bytes]] = {"runLocks": {}, "pulls": {}, "globalLocks": {}}


def bolt_of_the_stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "atlantis_bolt", PROGRAMS / "atlantis/atlantis_bolt.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BOLT = bolt_of_the_stand_in()


class Stopping(Loopback):
    """An instance whose unit is the program, and whose volume is its data directory."""

    def must_exec(self, argv: Sequence[str], *, timeout: float = 30) -> str:
        if argv[3] != "place":
            return super().must_exec(argv, timeout=timeout)
        self.program.stop()
        with tarfile.open(fileobj=io.BytesIO(self.pushed[argv[4]][0])) as tar:
            for entry in tar:
                entry.uid, entry.gid = os.getuid(), os.getgid()
                tar.extract(entry, self.program.data, filter="fully_trusted")
        self.program.start()
        return ""


@pytest.fixture
def atlantis(tmp_path: Path) -> Iterator[Atlantis]:
    data = tmp_path / "data"
    data.mkdir()
    program = Program("atlantis", data)
    program.start()
    spec = spec_of("atlantis")
    volume = spec.volumes[0].model_copy(update={"path": str(data)})
    service = Atlantis(spec.model_copy(update={"volumes": (volume,)}), Stopping(program))
    yield service
    service.hang_up()
    if program.process is not None:
        program.stop()


def program_of(atlantis: Atlantis) -> Program:
    assert isinstance(atlantis.inside, Stopping)
    return atlantis.inside.program


def test_the_stand_in_says_that_it_is_one(atlantis: Atlantis) -> None:
    assert atlantis.version() == "atlantis stand-in 0.1 (API of 0.35)"
    assert atlantis.look_healthy() == '{"status": "ok"}'


def test_an_empty_atlantis_lists_no_locks(atlantis: Atlantis) -> None:
    assert atlantis.way.must("GET", "/api/locks").json() == {"Locks": []}
    assert BOLT.read((program_of(atlantis).data / "atlantis.db").read_bytes()) == EMPTY


def test_what_would_act_is_disabled(atlantis: Atlantis) -> None:
    told = atlantis.way.must("POST", "/api/plan", statuses=(400,), json={}).json()
    assert told == {"error": "ignoring request since API is disabled"}
    atlantis.way.must("DELETE", "/api/locks", statuses=(501,))
    atlantis.way.must("GET", "/locks", statuses=(404,))


def test_locks_and_plans_of_two_generations_are_read_back(atlantis: Atlantis) -> None:
    first, later = atlantis.write_canaries("g1"), atlantis.write_canaries("later-1")
    assert [one.key for one in first] == [
        "atlas-drills/g1/./default/",
        "atlas-drills/g1/modules/network/production/network",
        "repos/atlas-drills/g1/1/default/default.tfplan",
        "repos/atlas-drills/g1/2/production/modules/network/network-production.tfplan",
    ]
    assert not {one.value for one in first} & {one.value for one in later}
    ledger = judge_canaries(first, later, atlantis.read_canaries([*first, *later]))
    assert len(ledger.recovered) == len(ledger.unexpected) == 4
    assert atlantis.observe()["number of locks"] == "4"
    assert [proof.held for proof in atlantis.prove()] == [True]


def test_a_clean_stop_and_a_start_keep_everything(atlantis: Atlantis) -> None:
    canaries = atlantis.write_canaries("g1")
    atlantis.hang_up()
    assert program_of(atlantis).stop() == 0
    program_of(atlantis).start()
    assert judge_canaries(canaries, [], atlantis.read_canaries(canaries)).faults == []


def test_a_changed_and_a_lost_plan_are_seen(atlantis: Atlantis) -> None:
    canaries = atlantis.write_canaries("g1")
    first, second = (one for one in canaries if " plan " in one.id)
    (program_of(atlantis).data / first.key).write_bytes(plan_file())
    (program_of(atlantis).data / second.key).unlink()
    ledger = judge_canaries(canaries, [], atlantis.read_canaries(canaries))
    assert (ledger.changed, ledger.lost) == ([first.id], [second.id])


def test_a_lost_lock_is_seen_and_a_plan_without_one_is_no_fault(atlantis: Atlantis) -> None:
    canaries = atlantis.write_canaries("g1")
    lost = canaries[0]
    del atlantis._locks[lost.key]
    atlantis._place({})
    assert judge_canaries(canaries, [], atlantis.read_canaries(canaries)).lost == [lost.id]
    assert [proof.held for proof in atlantis.prove()] == [True]


def test_the_lock_of_a_stranger_is_never_overwritten(atlantis: Atlantis) -> None:
    atlantis.write_canaries("g1")
    another = Atlantis(atlantis.spec, atlantis.inside)
    with pytest.raises(CouldNotLook, match="holds locks that this drill did not make"):
        another.write_canaries("g2")
    another.hang_up()
    assert len(atlantis._shown_locks()) == 2


def test_it_does_not_start_on_a_damaged_database(atlantis: Atlantis) -> None:
    atlantis.hang_up()
    program = program_of(atlantis)
    program.stop()
    (program.data / "atlantis.db").write_bytes(b"\0" * 4096 * 4)
    with pytest.raises(AssertionError, match="no whole meta page"):
        program.start()


def test_a_second_one_does_not_start_beside_the_first(atlantis: Atlantis) -> None:
    with pytest.raises(AssertionError, match="BlockingIOError"):
        Program("atlantis", program_of(atlantis).data).start()


def shown(**changes: Any) -> Mapping[str, Any]:
    lock = {"Name": "o/r/./default/", "PullID": "1", "Time": "2026-11-23T12:00:00.5+00:00"}
    return {**lock, **changes}


def test_the_zone_of_a_locks_time_has_no_meaning_and_all_else_has() -> None:
    moved = shown(Time="2026-11-23T04:00:00.500-08:00")
    assert canonical(moved) == canonical(shown())
    changes = [{"Time": "2026-11-23T12:00:01Z"}, {"PullID": "2"}, {"Workspace": "x"}]
    assert canonical(shown()) not in {canonical(shown(**change)) for change in changes}


def test_a_lock_is_known_by_what_it_locks_whatever_a_version_calls_it() -> None:
    lock = {
        "Name": "o/r/a/default/p",
        "ProjectRepo": "o/r",
        "ProjectRepoPath": "a",
        "Workspace": "default",
        "ProjectName": "p",
        "Time": "2026-11-23T12:00:00Z",
    }
    older = {**lock, "Name": "o/r/a/default"}  # from 0.34 to 0.39
    assert known_by(older) == known_by(lock) == "o/r/a/default/p"
    assert canonical(older) == canonical(lock)


def test_no_locks_at_all_are_no_fault(atlantis: Atlantis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "must_json", lambda *_, **__: None)  # `{"Locks": null}`
    assert atlantis._shown_locks() == {}


def test_a_page_with_status_200_is_no_answer(
    atlantis: Atlantis, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = requests.Response()
    answer.status_code, answer._content = 200, b"<html>maintenance</html>"
    monkeypatch.setattr(Way, "must", lambda *_, **__: answer)
    for look in (atlantis.version, atlantis.observe_from_outside, atlantis.prove):
        with pytest.raises(CouldNotLook, match="answered no JSON"):
            look()
    for body in (b"[]", b'"x"', b"{}", b'{"Locks": [{"Name": "x"}]}', b'{"Locks": [7]}'):
        answer._content = body
        with pytest.raises(CouldNotLook, match="JSON without Locks|another form"):
            atlantis.holdings(datetime.now(UTC))


def test_an_atlantis_that_asks_its_vcs_is_not_waited_for(
    atlantis: Atlantis, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = 'Error: initializing server: Get "https://api.github.com/": dial tcp: lookup a.b'
    said = CommandResult((), 0, f"{log}: no such host\n", "")
    monkeypatch.setattr(atlantis.inside, "exec", lambda *_, **__: said)
    monkeypatch.setattr(atlantis_class, "LOG_SECONDS", 0.05)
    program_of(atlantis).stop()
    atlantis.hang_up()
    begun = time.monotonic()
    with pytest.raises(CouldNotLook, match="asks its VCS at the start"):
        wait_until(atlantis.look_healthy, label="atlantis", timeout=30)
    assert time.monotonic() - begun < 15


def test_repositories_that_nobody_has_cloned_are_not_asked_for_their_owner(
    atlantis: Atlantis,
) -> None:
    shutil.rmtree(program_of(atlantis).data / "repos")
    assert not any(name.endswith("/repos") for name in atlantis.observe())


def test_projects_with_and_without_a_name_have_the_documented_places() -> None:
    assert [one.lock_name for one in planned("g")] == [
        "atlas-drills/g/./default/",
        "atlas-drills/g/modules/network/production/network",
    ]
    assert Planned("o/r", 7, "a/b", "w", "").plan == "repos/o/r/7/w/a/b/w.tfplan"
    assert Planned("o/r", 7, ".", "w", "a/b").plan == "repos/o/r/7/w/a::b-w.tfplan"


@given(
    st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=600), max_size=60),
    st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=9), max_size=3),
)
def test_a_written_database_is_read_as_it_was_meant(
    locks: dict[bytes, bytes], pulls: dict[bytes, bytes]
) -> None:
    buckets = {"runLocks": locks, "pulls": pulls, "globalLocks": {}}
    data = database(buckets)
    assert len(data) % 4096 == 0
    assert BOLT.read(data) == buckets


@pytest.mark.parametrize("cut", [0, 100, 4096, 4096 * 3, 4096 * 4, 4096 * 5 - 1])
def test_a_cut_database_is_damaged(cut: int) -> None:
    data = database({"runLocks": {b"k": b"v" * 9000}, "pulls": {}, "globalLocks": {}})
    with pytest.raises(BOLT.Damaged):
        BOLT.read(data[:cut])


def test_the_older_meta_page_serves_where_the_newer_is_torn() -> None:
    data = bytearray(database(EMPTY))
    data[4096 + 40] ^= 1
    assert BOLT.read(bytes(data)) == EMPTY
    data[40] ^= 1
    with pytest.raises(BOLT.Damaged, match="no whole meta page"):
        BOLT.read(bytes(data))
