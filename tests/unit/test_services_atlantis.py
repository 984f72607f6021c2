"""Atlantis' class against an imitation: locks in a BoltDB, plans on the disk."""

from datetime import UTC, datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fixtures.clock import wait_until
from fixtures.errors import CouldNotLook
from fixtures.incus.instance import CommandResult
from fixtures.services import atlantis as module
from fixtures.services.atlantis import Atlantis, canonical, name_of, plan_file
from fixtures.services.base import judge_canaries
from fixtures.services.http import HttpClient
from fixtures.services.stores import Bolt, bolt_database
from tests.imitations.instance import Loopback, Program, spec_of


@pytest.fixture
def program(tmp_path):
    made = Program(tmp_path, "atlantis.py")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def atlantis(program):
    service = Atlantis(spec_of("atlantis", program.data), Loopback(program))
    yield service
    service.close()


def test_locks_and_plans_are_read_back_and_what_is_changed_or_lost_is_seen(atlantis, program):
    assert atlantis.check_health() == '{"status": "ok"}'
    assert atlantis.version() == "atlantis imitation (API of 0.47)"
    facts = atlantis.read_facts()
    assert facts["number of locks"] == "0" and f"{program.data}/repos" not in str(facts)
    first, later = atlantis.write_canaries("g1"), atlantis.write_canaries("later-1")
    assert [canary.key for canary in first] == [
        "atlas-drills/g1/./default/",
        "atlas-drills/g1/modules/network/production/network",
        "repos/atlas-drills/g1/1/default/default.tfplan",
        "repos/atlas-drills/g1/2/production/modules/network/network-production.tfplan",
    ]
    assert not {canary.value for canary in first} & {canary.value for canary in later}
    ledger = judge_canaries(first, later, atlantis.read_canaries([*first, *later]))
    assert len(ledger.recovered) == len(ledger.unexpected) == 4
    facts = atlantis.read_facts()
    assert (facts["number of locks"], facts["number of plans"]) == ("4", "4")
    another = Atlantis(atlantis.spec, atlantis.inside)
    with pytest.raises(CouldNotLook, match="holds locks that this drill did not make"):
        another.write_canaries("g2")
    another.close()
    lock, _, changed, lost = first
    del atlantis._locks[lock.key]
    atlantis._place({changed.key: plan_file()})
    (program.data / lost.key).unlink()
    ledger = judge_canaries(first, [], atlantis.read_canaries(first))
    assert (ledger.changed, ledger.lost) == ([changed.id], [lock.id, lost.id])
    assert [proof.held for proof in atlantis.active_checks()] == [True], "a plan needs no lock"


def shown(**changes):
    lock = {"Name": "o/r/a/default/p", "ProjectRepo": "o/r", "ProjectRepoPath": "a"}
    lock |= {"Workspace": "default", "ProjectName": "p", "Time": "2026-11-23T12:00:00.5+00:00"}
    return {**lock, **changes}


def test_neither_zone_nor_name_of_a_lock_has_a_meaning_and_all_else_has():
    older = shown(Name="o/r/a/default")  # from 0.34 to 0.39
    moved = shown(Time="2026-11-23T04:00:00.500-08:00")
    assert name_of(older) == name_of(shown()) == "o/r/a/default/p"
    assert canonical(older) == canonical(moved) == canonical(shown())
    changes = [{"Time": "2026-11-23T12:00:01Z"}, {"PullID": "2"}, {"Workspace": "x"}]
    assert canonical(shown()) not in {canonical(shown(**change)) for change in changes}


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'"x"', b"{}", b'{"Locks": [{"Name": "x"}]}', b'{"Locks": [7]}']
)
def test_a_page_with_status_200_is_no_answer(monkeypatch, body):
    answer = requests.Response()
    answer.status_code, answer._content = 200, body
    monkeypatch.setattr(HttpClient, "request_ok", lambda *_, **__: answer)
    with pytest.raises(CouldNotLook, match="no JSON|JSON without Locks|another form"):
        Atlantis(spec_of("atlantis"), None).list_items(datetime.now(UTC))


def test_an_atlantis_that_asks_its_vcs_is_not_waited_for(atlantis, program, monkeypatch):
    log = 'Error: Get "https://api.github.com/": dial tcp: lookup a.b: no such host\n'
    answer = CommandResult((), 0, log, "")
    monkeypatch.setattr(atlantis.inside, "exec", lambda *_, **__: answer)
    monkeypatch.setattr(module, "LOG_SECONDS", 0.05)
    program.stop()
    with pytest.raises(CouldNotLook, match="asks its VCS at the start"):
        wait_until(atlantis.check_health, label="atlantis", timeout=15)


ENTRIES = st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=600), max_size=60)


@given(ENTRIES, ENTRIES)
def test_a_written_database_is_read_as_it_was_meant(locks, pulls):
    """That bbolt 1.4.3 reads, checks and changes such a file was tried by hand."""
    found = {b"runLocks": {}, b"pulls": {}}
    data = bolt_database({"runLocks": locks, "pulls": pulls, "globalLocks": {}})
    Bolt(data, lambda path, key, value: found[path[0]].update({key: value})).read()
    assert found == {b"runLocks": locks, b"pulls": pulls}
