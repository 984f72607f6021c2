"""The drill of each kind of tarball, seen red for each of its verifications."""

from __future__ import annotations

from dataclasses import replace

import pytest

import drills.test_restore_from_each_kind_of_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged
from fixtures.evidence.verdict import Verdict
from fixtures.plugin.collect import FORMS
from fixtures.recovery.backup import Form

PARTS = (0.0, 0.3, 0.6, 0.99)
CHECKED = ("gzip", "zstd", "xz")
"""Compressions that have a checksum of their own; a bare tar and lzma have none."""

body = runbook.test_service_restored_from_each_kind_of_tarball


def test_every_kind_that_is_cut_or_flipped_is_damaged(make_service, tmp_path):
    _drill, service = make_service("mosquitto", "tarball")
    service.deploy()
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


def test_another_kind_than_was_ordered_is_no_drill_of_it(make_service):
    _drill, service = make_service("mosquitto", "tarball")
    service.deploy()
    whole = service.volume.export
    service.volume.export = lambda *_, **__: whole("gzip")
    with pytest.raises(BackupDamaged, match="is of kind gzip, but zstd was ordered"):
        service.back_up("tarball", Form("zstd"))
    service.wait_until_healthy()
    with pytest.raises(BackupDamaged, match="is of kind gzip, but optimized-gzip was ordered"):
        service.back_up("tarball", Form("gzip", optimized=True))


def test_an_empty_volume_is_wrong_data(spoiled):
    act = acts.instead("import_tarball", acts.empty_volume)
    drill = spoiled(body, "mosquitto", "tarball", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason


def test_one_changed_canary_is_wrong_data(spoiled):
    act = acts.after("wait_until_healthy", acts.change_a_canary)
    assert spoiled(body, "mosquitto", "tarball", act).verdict is Verdict.WRONG_DATA


def test_a_pools_own_stream_that_is_changed_under_its_checksum_is_refused_by_incus(spoiled):
    def sabotage(service, backup):
        service.destroy()
        service.deploy()
        fresh = service.back_up("tarball", Form("none", optimized=True))
        data = bytearray(fresh.tarball.path.read_bytes())
        start = data.index(b"btrfs-stream")
        data[start : start + 12] = b"xxxxx-xxxxxx"
        fresh.tarball.path.write_bytes(data)
        known = inspect(fresh.tarball.path, volume=fresh.tarball.volume).sha256
        other = replace(fresh, tarball=replace(fresh.tarball, sha256=known))
        whole = service.import_tarball
        service.import_tarball = lambda _: whole(other)

    drill = spoiled(body, "mosquitto", "tarball", sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "as volume mosquitto01-data on pool local: " in drill.reason
    assert "unexpected header" in drill.reason
