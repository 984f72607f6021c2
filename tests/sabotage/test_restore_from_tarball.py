"""The drill `restore from tarball`, seen red for each of its verifications."""

from __future__ import annotations

import pytest

import drills.test_restore_from_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.errors import BackupDamaged, DrillError
from fixtures.evidence.verdict import Verdict

DATA = ["prometheus", "alertmanager", "mosquitto", "loki", "atlantis"]
OPENED_BY_A_SECRET = ["step-ca", "grafana"]
ALL = [*DATA, *OPENED_BY_A_SECRET]

body = runbook.test_service_restored_from_tarball


@pytest.mark.parametrize("name", ALL)
def test_a_skipped_import_is_not_recovered(spoiled, name):
    drill = spoiled(body, name, "tarball", acts.instead("import_tarball", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert f"start instance {name}01" in drill.reason


@pytest.mark.parametrize("name", DATA)
def test_an_empty_volume_is_wrong_data(spoiled, name):
    drill = spoiled(body, name, "tarball", acts.instead("import_tarball", acts.empty_volume))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason


@pytest.mark.parametrize("name", OPENED_BY_A_SECRET)
def test_what_starts_with_a_secret_does_not_come_up_on_an_empty_volume(spoiled, name):
    drill = spoiled(body, name, "tarball", acts.instead("import_tarball", acts.empty_volume))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert f"service {name} healthy: " in drill.reason


@pytest.mark.parametrize("name", ALL)
def test_an_older_tarball_is_wrong_data(older, name):
    drill, service = older(name, "tarball")
    service.held.clear()
    old = service.back_up("tarball")
    service.held.extend(service.subject.write_canaries("newest-of-all"))
    backup = service.back_up("tarball")
    restore = service.import_tarball
    service.import_tarball = lambda _: restore(old)
    try:
        body(drill, service, backup)
    except DrillError as error:
        drill.fail(error)
    record = drill.record()
    assert record.verdict is Verdict.WRONG_DATA
    assert any("newest-of-all" in lost for lost in record.canaries.lost)


@pytest.mark.parametrize("name", ALL)
def test_one_changed_canary_is_wrong_data(spoiled, name):
    act = acts.after("wait_until_healthy", acts.change_a_canary)
    drill = spoiled(body, name, "tarball", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert any(check.outcome == "broken" for check in drill.checks)


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_owner_is_wrong_data(spoiled, name):
    act = acts.after("wait_until_healthy", acts.own_by_root)
    drill = spoiled(body, name, "tarball", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "owner and mode of the state directory" in drill.reason


def test_another_ca_is_not_the_one_that_clients_trust(spoiled):
    drill = spoiled(body, "step-ca", "tarball", acts.after("start", acts.another_ca))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "certificate that does not chain to the root" in drill.reason


def test_a_tarball_that_rots_is_called_damaged_and_never_imported(spoiled):
    seen = {}

    def sabotage(service, backup):
        acts.flip_a_byte(service, backup)
        seen["service"] = service

    drill = spoiled(body, "prometheus", "tarball", sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "is damaged: its sha256 is" in drill.reason
    assert "it was not imported" in drill.reason
    assert not seen["service"].volume.exists(), "Incus never saw the damaged file"


@pytest.mark.parametrize(
    ("name", "kind"), [("prometheus", "tarball"), ("step-ca", "encrypted-tarball")]
)
def test_incus_makes_no_volume_of_a_file_that_is_seen_damaged_while_it_is_sent(
    make_service, name, kind
):
    _drill, service = make_service(name, kind)
    service.deploy()
    filler = f"head -c 4000000 /dev/urandom > {service.spec.volumes[0].path}/filler"
    service.instance.must_exec(["sh", "-c", filler])
    backup = service.back_up(kind)
    tarball, other = backup.tarball, service.volume.beside("made-of-a-damaged-file")
    whole = tarball.path.read_bytes()
    flipped = [bytearray(whole) for _ in range(3)]
    for place, data in zip((100, len(whole) // 2, -1), flipped, strict=True):
        data[place] ^= 1
    for damaged in (*map(bytes, flipped), whole[:-1], whole[: len(whole) // 2], b"", whole + b"x"):
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


def test_a_backup_that_is_damaged_on_arrival_stops_before_the_loss(older):
    _drill, service = older("prometheus", "tarball")
    whole = service.volume.export
    service.volume.export = lambda *how, **more: list(whole(*how, **more))[:-1]
    with pytest.raises(BackupDamaged, match="is damaged"):
        service.back_up("tarball")
    assert service.instance.exists(), "nothing was destroyed"
    assert service.volume.exists(), "nothing was destroyed"


def test_a_new_volume_that_is_not_attached_is_wrong_data(spoiled):
    def sabotage(service, backup):
        service.instance.attach = lambda *_: None

    new_volume = runbook.test_service_restored_from_tarball_as_new_volume
    drill = spoiled(new_volume, "mosquitto", "tarball", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason
