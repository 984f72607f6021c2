"""The drills `restore from tarball`, of each kind, seen red for each of their verifications."""

from __future__ import annotations

from dataclasses import replace

import pytest

import drills.test_restore_from_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged
from fixtures.evidence.verdict import Verdict
from fixtures.recovery.backup import Form

FORMS = [Form(name) for name in ("none", "gzip", "zstd", "xz", "lzma")]
FORMS += [Form(name, optimized=True) for name in ("none", "zstd")]
PARTS = (0.0, 0.3, 0.6, 0.99)
CHECKED = ("gzip", "zstd", "xz")
"""Compressions that have a checksum of their own; a bare tar and lzma have none."""

body = runbook.test_service_restored_from_tarball


def test_a_skipped_import_is_not_recovered(spoiled):
    drill = spoiled(body, "mosquitto", "tarball", acts.instead("import_tarball", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "start instance mosquitto01" in drill.reason


def test_an_empty_volume_is_wrong_data(spoiled):
    act = acts.instead("import_tarball", acts.empty_volume)
    drill = spoiled(body, "mosquitto", "tarball", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason


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


def test_one_changed_canary_is_wrong_data(spoiled):
    act = acts.after("wait_until_healthy", acts.change_a_canary)
    assert acts.broken(spoiled(body, "mosquitto", "tarball", act))


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
    cut = (whole[:-1], b"") if kind != "tarball" else (whole[:-1], whole[: len(whole) // 2], b"")
    for damaged in (*map(bytes, flipped), *cut, whole + b"x"):
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


def test_every_kind_that_is_cut_or_flipped_is_damaged(healthy, tmp_path):
    service = healthy("mosquitto", "tarball")
    for form in FORMS:
        tarball = service.back_up("tarball", form).tarball
        whole = tarball.path.read_bytes()
        for at in (*(int(len(whole) * part) for part in PARTS), len(whole) - 1):
            other = tmp_path / tarball.path.name
            other.write_bytes(whole[:at])
            with pytest.raises(BackupDamaged, match=f"{tarball.path.name} is damaged: "):
                inspect(other, volume=tarball.volume)
            flipped = bytearray(whole)
            flipped[at] ^= 1
            tarball.path.write_bytes(flipped)
            with pytest.raises(BackupDamaged, match="is damaged: its sha256 is"):
                tarball.must_match_checksum()
            if form.compression in CHECKED and at:
                other.write_bytes(flipped)
                with pytest.raises(BackupDamaged, match=f"{form.compression} stream is bad"):
                    inspect(other, volume=tarball.volume)


def test_another_kind_than_was_ordered_is_no_drill_of_it(healthy):
    service = healthy("mosquitto", "tarball")
    whole = service.volume.export
    service.volume.export = lambda *_, **__: whole("gzip")
    try:
        for form in (Form("zstd"), Form("gzip", optimized=True)):
            match = f"is of kind gzip, but {form} was ordered"
            with pytest.raises(BackupDamaged, match=match):
                service.back_up("tarball", form)
            service.wait_until_healthy()
    finally:
        service.volume.export = whole


def test_a_pools_own_stream_that_is_changed_under_its_checksum_is_refused_by_incus(deployed):
    drill, service, _ = deployed("mosquitto", "tarball")
    service.wait_until_healthy()
    fresh = service.back_up("tarball", Form("none", optimized=True))
    data = bytearray(fresh.tarball.path.read_bytes())
    start = data.index(b"btrfs-stream")
    data[start : start + 12] = b"xxxxx-xxxxxx"
    fresh.tarball.path.write_bytes(data)
    known = inspect(fresh.tarball.path, volume=fresh.tarball.volume).sha256
    other = replace(fresh, tarball=replace(fresh.tarball, sha256=known))
    record = acts.attempt(drill, body, service, other)
    assert record.verdict is Verdict.NOT_RECOVERED
    assert "as volume mosquitto01-data on pool local: " in record.reason
    assert "unexpected header" in record.reason
