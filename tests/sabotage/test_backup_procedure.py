"""The drill of the backup procedure, seen red for each of its verifications."""

from __future__ import annotations

import json

import pytest

import drills.test_backup_procedure as runbook
import tests.sabotage.acts as acts
from fixtures.errors import CouldNotLook, DrillError
from fixtures.evidence.verdict import Verdict
from fixtures.plugin.procedures import by_the_procedure
from fixtures.procedure import making
from fixtures.procedure.found import newest
from fixtures.procedure.run import Procedure
from fixtures.procedure.store import Store
from fixtures.secrets import Secret

KIND = "encrypted-tarball"

body = runbook.test_service_restored_from_the_backup_procedure


@pytest.fixture
def drilled(older, fleet, scratch, monkeypatch):
    """Runs the drill's body after `sabotage(service, directory)` and returns its evidence."""
    monkeypatch.setattr("fixtures.recovery.service.HEALTHY_SECONDS", 10.0)

    def run(sabotage, after=acts.nothing):
        drill, service = older("step-ca", KIND)
        directory = scratch / "backups"
        try:
            sabotage(service, directory)
            backup = by_the_procedure(service, KIND, fleet, directory)
            after(service, backup)
            body(drill, service, backup)
        except DrillError as error:
            drill.fail(error)
        return drill.record(), service

    return run


def test_a_sane_procedure_is_recovered_and_its_downtime_told(drilled):
    record, _service = drilled(lambda *_: None)
    assert record.verdict is Verdict.RECOVERED, record.reason
    assert 0 < record.backup.downtime < 60
    assert record.backup.encrypted


def test_an_export_that_fails_is_told_and_the_service_runs_again(drilled):
    def sabotage(service, directory):
        directory.mkdir()
        (directory / "step-ca").write_text("in the way")

    record, service = drilled(sabotage)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert "step-ca: encrypted-tarball: backup directory" in record.reason
    assert service.instance.status() == "Running"


def test_a_tarball_is_read_when_the_service_runs_again(drilled, monkeypatch):
    states, inspect = [], making.inspect
    instances = []

    def seen(*args, **more):
        states.append(instances[0].status())
        return inspect(*args, **more)

    monkeypatch.setattr(making, "inspect", seen)
    record, _service = drilled(lambda service, _: instances.append(service.instance))
    assert record.verdict is Verdict.RECOVERED, record.reason
    assert states == ["Running"]


def test_an_export_that_is_damaged_is_told_and_not_kept(drilled, scratch, monkeypatch):
    def damaged(chunks, *args):
        return write_tarball((chunk[:-1] for chunk in chunks), *args)

    write_tarball = making.write_tarball
    monkeypatch.setattr(making, "write_tarball", damaged)
    record, service = drilled(lambda *_: None)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert "step-ca: encrypted-tarball: " in record.reason
    assert service.instance.status() == "Running"
    assert Store(scratch / "backups").notes("step-ca", KIND) == []


def test_a_backup_of_a_service_that_does_not_come_back_is_kept(drilled, scratch, monkeypatch):
    monkeypatch.setattr(making, "HEALTHY_SECONDS", 2.0)
    start = making.ServiceBackups.start

    def ill(backups):
        backups.instance.start()
        backups.instance.must_exec(["systemctl", "stop", "step-ca"])
        start(backups)

    monkeypatch.setattr(making.ServiceBackups, "start", ill)
    record, _service = drilled(lambda *_: None)
    assert record.verdict is Verdict.NOT_VERIFIED
    assert "step-ca: stop and start: " in record.reason
    (kept,) = Store(scratch / "backups").notes("step-ca", KIND)
    assert kept.downtime is None


def test_a_note_that_cannot_be_amended_fails_its_backup_and_no_other(
    older, fleet, scratch, monkeypatch
):
    _drill, service = older("step-ca", KIND)
    keep, snapshots = Store.keep, []

    def full(store, note, file):
        if note.kind == "snapshot":
            snapshots.append(note)
            if len(snapshots) == 2:
                raise CouldNotLook("no space left")
        return keep(store, note, file)

    monkeypatch.setattr(Store, "keep", full)
    secret, directory = Secret("a passphrase of this test"), scratch / "backups"
    procedure = Procedure(service.incus, fleet, directory, secret, lambda _: None)
    procedure.back_up(service.spec, ["snapshot", KIND], subject=service.subject)
    assert [failure.kind for failure in procedure.failed] == ["snapshot"]
    (kept,) = Store(directory).notes("step-ca", KIND)
    assert kept.downtime is not None


def test_a_file_that_is_not_what_its_note_says_is_damaged(older, fleet, scratch):
    _drill, service = older("step-ca", KIND)
    backup = by_the_procedure(service, KIND, fleet, scratch / "backups")
    file = backup.tarball.path
    note = file.with_name(f"{file.name}.json")
    told = json.loads(note.read_text())
    note.write_text(json.dumps({**told, "sha256": "0" * 64}))
    with pytest.raises(DrillError, match="is not what was written"):
        newest(scratch / "backups", service.spec, KIND, backup.tarball.passphrase, [])


def test_another_ca_than_the_note_says_is_wrong_data(drilled):
    act = acts.after("start", acts.another_ca)
    record, _service = drilled(lambda *_: None, act)
    assert record.verdict is Verdict.WRONG_DATA
    assert "certificate that does not chain to the root" in record.reason
