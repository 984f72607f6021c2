"""What benchmarks are taken on: the lab, a drill project in it, and the `incus` client."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import drills.test_restore_from_snapshot as by_snapshot
import drills.test_restore_from_tarball as by_tarball
from benchmarks.figures import HERE, ROOT
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import Fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.project import DrillProject, reap, run_lock
from fixtures.lab.host import cgroup2_root
from fixtures.lab.lab import Lab
from fixtures.recovery.drill import Drill
from fixtures.recovery.service import ServiceUnderDrill

BODIES = {
    "snapshot": by_snapshot.test_service_restored_from_snapshot,
    "tarball": by_tarball.test_service_restored_from_tarball,
}
"""Kind of a backup -> the drill itself, which is what is measured."""

FILE_BYTES = 2_560_000
"""As in the shared facts: 419 files make 1 GiB."""

FILL = """
line='{"ts":"2026-11-25T02:00:00Z","level":"info","msg":"request served","path":"/api/v1/push"}'
yes "$line" | head -c 2400000 | awk '{ print NR, $0, NR * 7919 }' | head -c %(file)d >logs
for n in $(seq %(pairs)d); do
  head -c %(file)d /dev/urandom >random-$n
  { echo $n; cat logs; } >logs-$n
done
rm logs
chown -R %(owner)s .
sync -f .
"""
"""Half of it random, half log lines in JSON; on the disk, or the pool would not count it."""


def fill(service, size):
    """Put files of `size` bytes together next to the data of a running service."""
    data = service.spec.volumes[0]
    pairs = max(1, round(size / (2 * FILE_BYTES)))
    owner = f"{data.owner.uid}:{data.owner.gid}"
    script = FILL % {"file": FILE_BYTES, "pairs": pairs, "owner": owner}
    inside = f"mkdir {data.path}/weight && cd {data.path}/weight && {script}"
    service.instance.must_exec(["bash", "-ec", inside], timeout=900)


def peak_bytes():
    """Return the most memory that this process has had; ru_maxrss begins with its parent's."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))


class Stage(NamedTuple):
    """A drill project on the lab, for the time of one benchmark."""

    lab: Lab
    fleet: Fleet
    view: Incus
    project: DrillProject
    scratch: Path

    def service(self, name, scenario):
        """A service with a drill of its own; nothing of it is made yet."""
        spec = self.fleet.service(name)
        target = self.fleet.targets[scenario].seconds
        drill = Drill.of(spec, scenario, target=target, project=self.project.name)
        place = Path(tempfile.mkdtemp(dir=self.scratch))
        return ServiceUnderDrill(self.view, spec, drill, place, self.fleet.pool)

    def cgroup(self, spec):
        """That of the service's container, as the host sees it: below the group of the lab."""
        groups = Path(f"/proc/{self.lab.status().pid}/cgroup").read_text().splitlines()
        path = next(group.removeprefix("0::/") for group in groups if group.startswith("0::"))
        payload = f"lxc.payload.{self.project.name}_{spec.instance}"
        return cgroup2_root() / path.split("/")[0] / payload

    def script(self, name, spec, **more):
        """Type a script of `runbook/`; returns the moment (CLOCK_MONOTONIC) at which it began."""
        data = spec.volumes[0]
        about = {"INSTANCE": spec.instance, "VOLUME": data.name, "POOL": self.fleet.pool}
        about |= {"MOUNT": data.path, "DEVICE": data.device, "UNIT": spec.unit}
        about |= {"IMAGE": str(spec.image), **more}
        begun = time.monotonic()
        self.typed([str(HERE / "runbook" / name)], **about)
        return begun

    def typed(self, argv, **environment):
        """Run a command that finds the lab's `incus` client on its path.

        Raises:
            RuntimeError: it failed.
        """
        # The client alone: all else of the lab's root file system is linked to its own libraries.
        (programs := self.scratch / "bin").mkdir(exist_ok=True)
        if not (client := programs / "incus").exists():
            client.symlink_to(self.lab.rootfs() / "usr/bin/incus")
        settings = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "INCUS_SOCKET": str(self.lab.socket),
            "INCUS_CONF": str(self.scratch),
            "INCUS_PROJECT": self.project.name,
            "HOME": str(self.scratch),
        }
        env = {**settings, **environment}
        nothing = subprocess.DEVNULL
        done = subprocess.run(argv, env=env, stdin=nothing, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{argv} ended with {done.returncode}: {done.stderr.strip()}")


@contextmanager
def stage(images=None):
    """The lab with a drill project in it; both are gone afterwards, a lab that was up stays up."""
    lab, run = Lab(report=print, images=images), f"bench-{secrets.token_hex(3)}"
    started = lab.up()
    with tempfile.TemporaryDirectory(prefix="atlas-bench-") as scratch, run_lock(run):
        policy = DrillPolicy(run)
        fleet = load_fleet(ROOT / "fleets" / "atlas.yaml")
        incus = Incus(str(lab.socket), policy)
        reap(incus, policy)
        project = DrillProject(incus, run, f"drill-{run}")
        try:
            view = project.create(fleet.pool)
            yield Stage(lab, fleet, view, project, Path(scratch))
        finally:
            project.delete()
            if started:
                lab.down()
