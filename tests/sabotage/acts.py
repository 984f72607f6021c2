"""What can go wrong with a recovery, done to a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fixtures.errors import DrillError
from fixtures.evidence.record import DrillRecord, Verdict
from fixtures.recovery.backup import Backup
from fixtures.recovery.drill import Drill
from fixtures.recovery.service import ServiceUnderDrill


def attempt(drill: Drill, body: Callable[..., None], *subjects: Any) -> DrillRecord:
    """Run a drill's own body and its later checks; returns its evidence."""
    try:
        body(drill, *subjects)
    except DrillError as error:
        drill.fail(error)
    drill.run_later_checks()
    return drill.record()


def broken(record: DrillRecord) -> dict[str, str]:
    """Return name -> detail of the checks that did not hold, of a drill with wrong data."""
    assert record.verdict is Verdict.WRONG_DATA, record.reason
    print(*(check for check in record.checks if check.outcome != "held"), sep="\n")
    return {check.name: check.detail for check in record.checks if check.outcome == "broken"}


Act = Callable[[ServiceUnderDrill, Backup], Any]


def skip(thing: Any, verb: str) -> None:
    """Make a method, which must exist under this name, do nothing."""
    assert callable(getattr(thing, verb))
    setattr(thing, verb, lambda *_: None)


def instead(verb: str, act: Act) -> Act:
    """Put `act(service, backup)` in the place of one of the runbook's verbs."""

    def sabotage(service: ServiceUnderDrill, backup: Backup) -> None:
        assert callable(getattr(service, verb))
        setattr(service, verb, lambda *_: act(service, backup))

    return sabotage


def after(verb: str, act: Act) -> Act:
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


def restore(snapshot: str) -> Act:
    """Put the volume back to another snapshot: `older` or `newer` than the backup."""
    return lambda service, backup: service.volume.restore(snapshot)


def empty_volume(service: ServiceUnderDrill, backup: Backup) -> None:
    """A new, empty volume in the place of the imported one."""
    service.create_volume(service.volume)
    service.create_instance()


def shell(script: str) -> Act:
    """Run a script in the instance."""

    def act(service: ServiceUnderDrill, backup: Backup) -> None:
        service.instance.wait_until_usable()
        service.instance.must_exec(["sh", "-ec", script], timeout=60)

    return act


def change_a_canary(service: ServiceUnderDrill, backup: Backup) -> None:
    """Drop or change one canary by the service's own means."""
    CHANGES[service.spec.kind](service)


def _drop_series(service: ServiceUnderDrill) -> None:
    series = next(iter(service.subject._series.values()))
    service.subject.client.request_ok(
        "POST",
        "/api/v1/admin/tsdb/delete_series",
        statuses=(204,),
        params={"match[]": series.selector},
    )


def _expire_silence(service: ServiceUnderDrill) -> None:
    key = next(c.key for c in service.held if "silence" in c.id)
    service.subject.client.request_ok("DELETE", f"/api/v2/silence/{key}")


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
    service.subject.request_ok("POST", "/api/dashboards/db", json=changed)


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

ROT = (
    "systemctl stop loki; find /loki/wal -type f -size +0 | while read -r file; do "
    'printf rotten! | dd of="$file" bs=1 seek=60 conv=notrunc; done; systemctl start loki'
)
"""The write-ahead log of Loki has rotten: seven bytes in each file of it."""


def another_ca(service: ServiceUnderDrill, backup: Backup) -> None:
    """Make another CA on the volume, as an installer does that is run again."""
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
