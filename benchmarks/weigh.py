"""One heavy drill in a process of its own, whose memory is then known.

Prometheus with a given weight of files beside its data is backed up, lost and recovered as the
drill does it; the same file is imported by the `incus` client, and unpacked straight into the same
pool, which is the pool's own limit. Each begins with memory that is full, and of other things. One
line of JSON tells the seconds of each.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import timed
from benchmarks.memory import Memory, memory, told
from benchmarks.stage import Stage, fill, recover, stage
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.recovery.backup import Form
from fixtures.recovery.drill import Drill
from fixtures.recovery.service import ServiceUnderDrill
from fixtures.secrets import Secret

SERVICE = "prometheus"
POOLS = "/var/lib/incus/storage-pools"


@dataclass(frozen=True)
class Weight:
    """What is drilled: a size in bytes, and the kind of tarball."""

    size: int
    form: Form


def main(argv: list[str] | None = None) -> None:
    """Weigh, and print what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--form", required=True, help="none, gzip, zstd, optimized-none, ...")
    parser.add_argument("--drill-last", action="store_true", help="after the client and the limit")
    parser.add_argument("--encrypt", action="store_true", help="export, encrypt, verify, import")
    given = parser.parse_args(argv)
    optimized = given.form.startswith("optimized-")
    form = Form(given.form.removeprefix("optimized-"), optimized)
    weight = Weight(given.bytes, form)
    with stage([SERVICE]) as place, memory() as cache:
        if given.encrypt:
            seen = _encrypted(place, weight)
        else:
            seen = _weighed(place, weight, cache, drill_last=given.drill_last)
    print(json.dumps({**seen, "peak_bytes": _peak()}), flush=True)


def _peak() -> int:
    """The most memory that this process has had; ru_maxrss would begin with its parent's."""
    return told("/proc/self/status", "VmHWM")


def _deployed(place: Stage, weight: Weight) -> ServiceUnderDrill:
    service = place.service(SERVICE, "tarball")
    service.deploy()
    fill(service, weight.size)
    return service


def _weighed(place: Stage, weight: Weight, cache: Memory, *, drill_last: bool) -> dict[str, Any]:
    """The drill, and beside it the client and the limit; the pool holds 10 GiB but once.

    What is drilled last is there twice while the others have their turn.
    """
    service = _deployed(place, weight)
    backup = service.back_up("tarball", weight.form)
    if backup.tarball is None:
        raise RuntimeError("no tarball was made")
    file, drill = backup.tarball.path, service.drill
    pool = Path(f"/proc/{place.lab.status().pid}/root{POOLS}/{place.fleet.pool}")
    ballast = pool / "custom" / f"{place.project.name}_{service.volume.name}" / "weight"

    def settle() -> None:
        cache.settle(file, ballast)
        time.sleep(1.0)

    def drilled() -> dict[str, Any]:
        recover(service, backup)
        _lose(service)
        return _of_record(drill)

    ways: list[Callable[[], dict[str, Any]]] = [
        drilled,
        lambda: {"client": _by_client(place, file)},
        lambda: {"limit": _straight(place, file, weight.form)},
    ]
    seen: dict[str, Any] = {}
    for way in reversed(ways) if drill_last else ways:
        settle()
        seen |= way()
    return seen


def _of_record(drill: Drill) -> dict[str, Any]:
    record = drill.record()
    made, restored = record.backup, record.restore
    if record.rto is None or made is None or restored is None:
        raise RuntimeError(f"the drill ended as {record.verdict}: {record.reason}")
    return {
        "rto": record.rto,
        "phases": {phase.name: phase.seconds for phase in record.phases},
        "export": made.seconds,
        "file_bytes": made.file_bytes,
        "content_bytes": made.content_bytes,
        "bytes": restored.bytes,
        "restore": restored.seconds,
        "moving": restored.moving,
        "record": json.loads(record.model_dump_json()),
    }


def _lose(service: ServiceUnderDrill) -> None:
    service.instance.remove()
    service.volume.remove()


def _by_client(place: Stage, file: Path) -> float:
    """Seconds to import the file by the `incus` client; the volume is gone again."""
    pool = place.fleet.pool
    seconds = timed(
        lambda: place.typed(["incus", "storage", "volume", "import", pool, str(file), "typed"])
    )
    place.typed(["incus", "storage", "volume", "delete", pool, "typed"])
    return seconds


UNPACKED = {"none": "cat", "gzip": "gzip -dc", "zstd": "zstd -dcq"}


def _straight(place: Stage, file: Path, form: Form) -> float:
    """Seconds to unpack the file into a new subvolume of the pool, or to receive it there.

    In the lab's own namespaces, where the pool is mounted, as Incus itself does it.
    """
    pool = f"{POOLS}/{place.fleet.pool}"
    where = f"{pool}/limit-{secrets.token_hex(4)}"
    stream = f"{UNPACKED[form.compression]} <{shlex.quote(str(file))}"
    inside = f"nsenter -t {place.lab.status().pid} -m -p"
    if form.optimized:
        take = f"tar -xOf - backup/volume.bin | {inside} btrfs receive -e {where}"
    else:
        take = f"{inside} tar -xf - -C {where}"
    make = "mkdir" if form.optimized else "btrfs subvolume create"
    _shell(f"{inside} {make} {where}")
    try:
        return timed(lambda: _shell(f"{stream} | {take}"))
    finally:
        made = f"{where}/*" if form.optimized else where
        _shell(f"{inside} bash -c 'btrfs subvolume delete {made}; rmdir {where} 2>&1 || true'")


def _shell(script: str) -> None:
    done = subprocess.run(["bash", "-o", "pipefail", "-ec", script], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script!r} ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _encrypted(place: Stage, weight: Weight) -> dict[str, Any]:
    """Export, encrypt, verify and import, one after the other, in this process."""
    service = _deployed(place, weight)
    service.subject.hang_up()
    service.instance.stop()
    volume, secret = service.volume, Secret(secrets.token_urlsafe(32))
    form, scratch = weight.form, service.scratch
    chunks = volume.export(form.compression, optimized=form.optimized)
    tarball = write_tarball(chunks, scratch, volume.name, form.compression, secret)
    seen = inspect(tarball.path, volume=volume.name, passphrase=secret)
    _lose(service)
    begun = time.monotonic()
    with tarball.content() as content:
        volume.import_from(content, tarball.path.name)
    seconds = time.monotonic() - begun
    return {"export": tarball.seconds, "content_bytes": seen.content_bytes, "import": seconds}


if __name__ == "__main__":
    main()
