"""What can go wrong with a recovery, done to a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fixtures.recovery.backup import Backup
from fixtures.recovery.service import ServiceUnderDrill


def instead(verb: str, act: Callable[..., Any]) -> Callable[[ServiceUnderDrill, Backup], None]:
    """Put `act(service, backup)` in the place of one of the runbook's verbs."""

    def sabotage(service: ServiceUnderDrill, backup: Backup) -> None:
        setattr(service, verb, lambda *_: act(service, backup))

    return sabotage


def after(verb: str, act: Callable[..., Any]) -> Callable[[ServiceUnderDrill, Backup], None]:
    """Let the verb do its work, then do `act(service, backup)`."""

    def sabotage(service: ServiceUnderDrill, backup: Backup) -> None:
        whole = getattr(service, verb)

        def spoiled(*arguments: Any) -> None:
            whole(*arguments)
            act(service, backup)

        setattr(service, verb, spoiled)

    return sabotage


def nothing(service: ServiceUnderDrill, backup: Backup) -> None:
    """Forget the step."""


def restore_older_snapshot(service: ServiceUnderDrill, backup: Backup) -> None:
    """Put the volume back to a snapshot from before the canaries."""
    service.volume.restore("older")


def restore_newer_snapshot(service: ServiceUnderDrill, backup: Backup) -> None:
    """Put the volume back to a snapshot that also holds what was written after the backup."""
    service.volume.restore("newer")


def empty_volume(service: ServiceUnderDrill, backup: Backup) -> None:
    """A new, empty volume in the place of the imported one."""
    service._create_volume()
    service._create_instance()


def own_by_root(service: ServiceUnderDrill, backup: Backup) -> None:
    """The state directory comes back with another owner."""
    service.instance.must_exec(["chown", "0:0", service.spec.volumes[0].path])


def change_a_canary(service: ServiceUnderDrill, backup: Backup) -> None:
    """One canary is dropped or changed by the service's own means."""
    CHANGES[service.spec.kind](service)


def _drop_series(service: ServiceUnderDrill) -> None:
    series = next(iter(service.subject._series.values()))
    service.subject.way.must(
        "POST",
        "/api/v1/admin/tsdb/delete_series",
        statuses=(204,),
        params={"match[]": series.selector},
    )


def _expire_silence(service: ServiceUnderDrill) -> None:
    key = next(c.key for c in service.held if "silence" in c.id)
    service.subject.way.must("DELETE", f"/api/v2/silence/{key}")


def _change_retained(service: ServiceUnderDrill) -> None:
    topic = next(c.key for c in service.held if "retained" in c.id)
    service.subject.client.publish(topic, b"changed", 1, retain=True)


def _change_fingerprint(service: ServiceUnderDrill) -> None:
    path = f"{service.spec.volumes[0].path}/fingerprint"
    service.instance.must_exec(["sh", "-c", f"echo 0123456789abcdef > {path}"])


def _delete_chunk(service: ServiceUnderDrill) -> None:
    chunk = min(service.subject._chunks)
    service.instance.must_exec(["rm", f"{service.spec.volumes[0].path}/{chunk}"])


def _save_dashboard(service: ServiceUnderDrill) -> None:
    uid = next(c.key for c in service.held if " dashboard " in c.id)
    changed = {"dashboard": {"uid": uid, "title": "changed"}, "overwrite": True}
    service.subject.must("POST", "/api/dashboards/db", json=changed)


def _append_to_plan(service: ServiceUnderDrill) -> None:
    plan = next(c.key for c in service.held if " plan " in c.id)
    path = f"{service.spec.volumes[0].path}/{plan}"
    service.instance.must_exec(["sh", "-c", f"echo changed >> {path}"])


CHANGES = {
    "prometheus": _drop_series,
    "alertmanager": _expire_silence,
    "mosquitto": _change_retained,
    "step-ca": _change_fingerprint,
    "loki": _delete_chunk,
    "grafana": _save_dashboard,
    "atlantis": _append_to_plan,
}


def damage_the_wal(service: ServiceUnderDrill, backup: Backup) -> None:
    """The write-ahead log of Loki has rotten: seven bytes in each file of it."""
    service.instance.wait_until_usable()
    rot = (
        "systemctl stop loki; find /loki/wal -type f -size +0 | while read -r file; do "
        'printf rotten! | dd of="$file" bs=1 seek=60 conv=notrunc; done; systemctl start loki'
    )
    service.instance.must_exec(["sh", "-c", rot])


def another_ca(service: ServiceUnderDrill, backup: Backup) -> None:
    """Another CA on the volume, as by an installer that was run anew."""
    stranger = type(service.subject)(service.spec, service.instance)
    service.instance.wait_until_usable()
    service.instance.must_exec(["sh", "-c", "rm -rf /home/step/.step /home/step/fingerprint"])
    stranger.initialise()
    service.instance.must_exec(["systemctl", "restart", service.spec.unit])


def flip_a_byte(service: ServiceUnderDrill, backup: Backup) -> None:
    """The tarball rots in its place, after it was found intact."""
    assert backup.tarball is not None, "the sabotage needs a tarball"
    with backup.tarball.path.open("r+b") as file:
        file.seek(backup.tarball.file_bytes // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
