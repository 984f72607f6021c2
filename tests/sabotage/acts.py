"""What can go wrong with a recovery, done to a real one."""

from dataclasses import replace

from drills.test_existing_backups import restored
from fixtures.errors import DrillError
from fixtures.evidence.record import Verdict
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import find_existing


def nothing(*_):
    """Forget the step."""


def attempt(drill, body, *subjects):
    """Run a drill's own body and its later checks; returns its evidence."""
    try:
        body(drill, *subjects)
    except DrillError as error:
        drill.fail(error)
    drill.run_later_checks()
    return drill.record()


def drill_existing(stage, subject, kind, backups, make, sabotage=nothing):
    """Run the drill of an existing backup, with a sabotage before its body; return its evidence."""
    drill, existing = stage.new_drill(Planned(subject, kind, "existing")), None
    try:
        existing = find_existing(drill, subject, backups, make, stage)
        sabotage(existing)
        restored(drill, existing)
    except DrillError as error:
        drill.fail(error)
    drill.run_later_checks()
    if existing is not None:
        existing.service.remove()
    return drill.record()


def broken(record):
    """Return name -> detail of the checks that did not hold, of a drill with wrong data."""
    must_be(record, Verdict.WRONG_DATA)
    print(*(check for check in record.checks if check.outcome != "held"), sep="\n")
    return {check.name: check.detail for check in record.checks if check.outcome == "broken"}


def must_be(record, verdict, *words):
    """It ended with this verdict, for a reason that has these words."""
    assert record.verdict is verdict, record.reason
    assert [word for word in words if word not in (record.reason or "")] == [], record.reason


def newest(place, fleet, name, kind):
    """Path of the newest file of a kind; files are searched again."""
    subject = next(part for part in fleet.parts if part.name == name)
    return replace(place).newest_file(subject, kind).path


def delete_of(stored, kind, name):
    """Delete a key of a bucket, or a snapshot of a volume."""
    stored.incus.delete(*stored._path, kind, name)


def flip_a_bit(path, at=None):
    """In the middle of the file, or `at` a byte; return what it holds then."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)
    return bytes(data)


def skip(thing, verb):
    """Make a method, which must exist under this name, do nothing."""
    instead(verb, nothing)(thing)


def instead(verb, act):
    """Put `act` in the place of one of the runbook's verbs; it gets what the sabotage gets."""

    def sabotage(thing, *more):
        assert callable(getattr(thing, verb))
        setattr(thing, verb, lambda *_: act(thing, *more))

    return sabotage


def after(verb, act):
    """Let the verb do its work, then `act`, which gets what the sabotage gets."""

    def sabotage(thing, *more):
        whole = getattr(thing, verb)

        def spoiled(*arguments):
            whole(*arguments)
            act(thing, *more)

        setattr(thing, verb, spoiled)

    return sabotage


def shell(script):
    """Run a script in the instance."""

    def act(service, backup):
        service.instance.wait_until_usable()
        service.instance.must_exec(["sh", "-ec", script], timeout=60)

    return act


def change_a_canary(service, backup):
    """Drop or change one canary by the service's own means."""
    CHANGES[service.spec.kind](service)


def _drop_series(service):
    series = next(iter(service.subject._series.values()))
    path, params = "/api/v1/admin/tsdb/delete_series", {"match[]": series.selector}
    service.subject.client.request_ok("POST", path, statuses=(204,), params=params)


def _expire_silence(service):
    key = next(c.key for c in service.held if "silence" in c.id)
    service.subject.client.request_ok("DELETE", f"/api/v2/silence/{key}")


def _change_retained(service):
    topic = next(c.key for c in service.held if "retained" in c.id)
    service.subject.client.publish(topic, b"changed", 1, retain=True)


def _save_dashboard(service):
    uid = next(c.key for c in service.held if " dashboard " in c.id)
    changed = {"dashboard": {"uid": uid, "title": "changed"}, "overwrite": True}
    service.subject.request_ok("POST", "/api/dashboards/db", json=changed)


def _on_volume(script, find):
    """Run a script on the volume, about what `find(service)` returns."""

    def change(service):
        path, found = service.spec.volumes[0].path, find(service)
        service.instance.must_exec(["sh", "-ec", f'cd {path}; {script} "$1"', "sh", found])

    return change


CHANGES = {
    "prometheus": _drop_series,
    "alertmanager": _expire_silence,
    "mosquitto": _change_retained,
    "step-ca": _on_volume("echo 0123456789abcdef >", lambda _: "fingerprint"),
    "loki": _on_volume("rm", lambda service: min(service.subject._chunks)),
    "grafana": _save_dashboard,
    "atlantis": _on_volume(
        "echo changed >>", lambda service: next(c.key for c in service.held if " plan " in c.id)
    ),
}

ROT = (
    "systemctl stop loki; find /loki/wal -type f -size +0 | while read -r file; do "
    'printf rotten! | dd of="$file" bs=1 seek=60 conv=notrunc; done; systemctl start loki'
)
"""The write-ahead log of Loki has rotten: seven bytes in each file of it."""
