"""The drills `restore from tarball`, seen red for each of their verifications."""

import pytest

import drills.test_restore_from_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.errors import BackupDamaged
from fixtures.evidence.record import Verdict

body = runbook.test_service_restored_from_tarball


def test_a_skipped_import_is_not_recovered(spoiled):
    record = spoiled(body, "mosquitto", "tarball", acts.instead("import_tarball", acts.nothing))
    acts.must_be(record, Verdict.NOT_RECOVERED, "start instance mosquitto01")


def test_a_new_volume_that_is_not_attached_is_wrong_data(spoiled):
    def sabotage(service, backup):
        service.instance.attach = lambda *_: None

    new_volume = runbook.test_service_restored_from_tarball_as_new_volume
    acts.must_be(spoiled(new_volume, "mosquitto", "tarball", sabotage), Verdict.WRONG_DATA, "lost:")


def test_an_older_tarball_is_wrong_data(deployed):
    drill, service, old = deployed("mosquitto", "tarball")
    service.wait_until_healthy()
    service.held.extend(service.subject.write_canaries("newest-of-all"))
    backup = service.back_up("tarball")
    restore = service.import_tarball
    service.import_tarball = lambda _: restore(old)
    record = acts.attempt(drill, body, service, backup)
    acts.must_be(record, Verdict.WRONG_DATA, "newest-of-all")


def test_a_tarball_that_rots_is_called_damaged_and_never_imported(deployed):
    drill, service, backup = deployed("mosquitto", "tarball")
    acts.flip_a_bit(backup.tarball.path)
    record = acts.attempt(drill, body, service, backup)
    acts.must_be(record, Verdict.NOT_RECOVERED, "damaged: its sha256 is", "it was not imported")
    assert not service.volume.exists(), "Incus never saw the damaged file"


@pytest.mark.parametrize(
    ("name", "kind"), [("mosquitto", "tarball"), ("step-ca", "encrypted-tarball")]
)
def test_incus_makes_no_volume_of_a_file_that_is_seen_damaged_while_it_is_sent(healthy, name, kind):
    service = healthy(name, kind)
    filler = f"head -c 4000000 /dev/urandom > {service.spec.volumes[0].path}/filler"
    service.instance.must_exec(["sh", "-c", filler])
    backup = service.back_up(kind)
    tarball, other = backup.tarball, service.volume.sibling("made-of-a-damaged-file")
    whole = tarball.path.read_bytes()
    half, last = len(whole) // 2, len(whole) - 1
    flips = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in (100, half, last)]
    # gpg takes its time for each: the last byte stands for all.
    more = [*flips, whole[:-1], whole[:half], b"", whole + b"x"]
    damages = more if kind == "tarball" else flips[-1:]
    for damaged in damages:
        tarball.path.write_bytes(damaged)
        match = "is damaged: its sha256 is .* it was not imported"
        with pytest.raises(BackupDamaged, match=match), tarball.content() as content:
            other.import_from(content, backup.name)
        assert not other.exists()
    tarball.path.write_bytes(whole)
    with tarball.content() as content:
        other.import_from(content, backup.name)
    assert other.exists()
    other.delete()


def test_a_backup_that_is_damaged_on_arrival_stops_before_the_loss(healthy, monkeypatch):
    service = healthy("mosquitto", "tarball")
    whole = service.volume.export
    monkeypatch.setattr(
        service.volume, "export", lambda *how, **more: list(whole(*how, **more))[:-1]
    )
    with pytest.raises(BackupDamaged, match="is damaged"):
        service.back_up("tarball")
    assert service.instance.exists() and service.volume.exists(), "nothing was destroyed"
