"""The drills `restore from tarball`, seen red for each of their verifications."""

import pytest

import drills.test_restore_from_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.errors import BackupDamaged
from fixtures.evidence.record import Verdict

body = runbook.test_service_restored_from_tarball


def test_a_skipped_import_is_not_recovered(spoiled):
    drill = spoiled(body, "mosquitto", "tarball", acts.instead("import_tarball", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "start instance mosquitto01" in drill.reason


def test_an_older_tarball_is_wrong_data(deployed):
    drill, service, old = deployed("mosquitto", "tarball")
    service.wait_until_healthy()
    service.held.extend(service.subject.write_canaries("newest-of-all"))
    backup = service.back_up("tarball")
    restore = service.import_tarball
    service.import_tarball = lambda _: restore(old)
    record = acts.attempt(drill, body, service, backup)
    assert record.verdict is Verdict.WRONG_DATA
    assert any("newest-of-all" in lost for lost in record.canaries.lost)


def test_a_tarball_that_rots_is_called_damaged_and_never_imported(deployed):
    drill, service, backup = deployed("mosquitto", "tarball")
    acts.flip_a_byte(service, backup)
    record = acts.attempt(drill, body, service, backup)
    assert record.verdict is Verdict.NOT_RECOVERED
    assert "is damaged: its sha256 is" in record.reason
    assert "it was not imported" in record.reason
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
    flipped = [bytearray(whole) for _ in range(3)]
    for place, data in zip((100, len(whole) // 2, -1), flipped, strict=True):
        data[place] ^= 1
    others = (whole[:-1], whole[: len(whole) // 2], b"", whole + b"x")
    # gpg takes its time for each: the last byte stands for all.
    for damaged in (*map(bytes, flipped), *others) if kind == "tarball" else (flipped[-1],):
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


def test_a_backup_that_is_damaged_on_arrival_stops_before_the_loss(healthy):
    service = healthy("mosquitto", "tarball")
    whole = service.volume.export
    service.volume.export = lambda *how, **more: list(whole(*how, **more))[:-1]
    try:
        with pytest.raises(BackupDamaged, match="is damaged"):
            service.back_up("tarball")
    finally:
        service.volume.export = whole
    assert service.instance.exists(), "nothing was destroyed"
    assert service.volume.exists(), "nothing was destroyed"


def test_a_new_volume_that_is_not_attached_is_wrong_data(spoiled):
    def sabotage(service, backup):
        service.instance.attach = lambda *_: None

    new_volume = runbook.test_service_restored_from_tarball_as_new_volume
    drill = spoiled(new_volume, "mosquitto", "tarball", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason
