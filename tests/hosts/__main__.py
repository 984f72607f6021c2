"""`./run hosts [SUITE]`: the suite on an ordinary Debian server, as a newcomer meets it.

On a fresh machine: one service's drills in the lab, a drill with the operator's command, an Incus
of the distribution whose backups are drilled; the host is compared before and after. 0 is success.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.lab import images, settings
from fixtures.lab.cache import Cache, remove
from fixtures.lab.images import from_apt

from .machine import SUITES, Machine, booted, image, run

HERE = Path(__file__).parent
REPO = HERE.parents[1]
COPIED = re.compile(
    r".*_(proxy|PROXY)|PIP_(?!FIND_LINKS).*|GO(PROXY|SUMDB|NOSUMDB|NOPROXY|PRIVATE|INSECURE)"
    r"|SSL_CERT_(FILE|DIR)|ATLAS_DRILLS_DEBIAN_MIRROR"
)
"""Variables of the environment by which this machine reaches packages."""
FILES = ("etc/pip.conf", "root/.config/pip", "root/.config/go/env", "root/.netrc")
APT_OPTIONS = ("Acquire::http", "Acquire::https", "Acquire::Retries")
INCUS = {
    "trixie": "incus dnsmasq-base nftables",
    "bookworm": "incus dnsmasq-base nftables -t bookworm-backports",
}
DRILLS = (
    ("a newcomer's first drill", '-k "mosquitto and snapshot"'),
    ("the operator's command", "-k operators_command"),
)
PRODUCTION = (
    "-m existing --incus=unix --provision=copy --backups=/srv/backups -k mosquitto "
    "--fleet=tests/hosts/fleet.yaml"
)


@dataclass
class Visit:
    """One run on one machine: each step is timed, and told with its fault where it failed."""

    machine: Machine
    log: Path
    told: list[str] = field(default_factory=list)
    faults: int = 0

    def tell(self, what, seconds, fault=""):
        self.faults += bool(fault)
        self.told.append(f"{what}: {fault or 'good'} ({seconds:.0f} s)")
        print(f"hosts: {self.told[-1]}", flush=True)

    def step(self, what, script, content=b"", *, ends=True):
        """Run a script on the machine; a failure ends the visit, unless it goes on."""
        begun = time.monotonic()
        print(f"hosts: {what} ...", flush=True)
        with self.log.open("ab") as log:
            status = self.machine.ssh(script, check=False, content=content, output=log).returncode
        self.tell(what, time.monotonic() - begun, f"ended with status {status}" if status else "")
        if status and ends:
            raise SystemExit(self.end())

    def drill(self, what, options):
        """Run drills, each of which has to recover: a skip or `not verified` is a failure."""
        self.step(what, f"{ENTER}; ./run drills --strict {options}", ends=False)

    def state(self):
        script = (HERE / "state.sh").read_text()
        shown = self.machine.ssh(script, check=False, output=subprocess.PIPE)
        return set(shown.stdout.decode(errors="replace").splitlines())

    def compare(self, what, before):
        after = self.state()
        odd = [f"+ {line}" for line in sorted(after - before)]
        odd += [f"- {line}" for line in sorted(before - after) if not line.startswith("process")]
        self.tell(f"the host after {what}", 0, "; ".join(odd[:20]))

    def end(self):
        """Tell all of it once more; returns the exit status."""
        print("\n".join(["", *self.told, f"log: {self.log}"]), flush=True)
        return 1 if self.faults else 0


ENTER = "set -e; set -a; . /root/host.env; set +a; cd /root/atlas-drills"


def main():
    """Visit one machine; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./run hosts", description=__doc__)
    parser.add_argument("suite", nargs="?", choices=SUITES, default=SUITES[0])
    parser.add_argument("--cold", action="store_true", help="do not copy this machine's cache in")
    options = parser.parse_args()
    config = settings.from_environment()
    made = image(options.suite, config.cache)
    log = Path(tempfile.gettempdir()) / f"atlas-hosts-{options.suite}.log"
    log.write_bytes(b"")
    with tempfile.TemporaryDirectory(prefix="atlas-hosts-", dir="/var/tmp") as name:
        further = () if options.cold else (_filled(config, Path(name)),)
        begun = time.monotonic()
        with booted(made, Path(name), further) as machine:
            visit = Visit(machine, log)
            visit.tell(f"{options.suite} boots by {machine.accelerator}", time.monotonic() - begun)
            return _visit(visit, options.suite, has_cache=bool(further))


def _visit(visit, suite, *, has_cache):
    if has_cache:
        mount = "mkdir -p /var/cache/atlas-drills && mount /dev/vdb /var/cache/atlas-drills"
        visit.step("the cache is there", mount)
    unpack = "tar -x -C / && update-ca-certificates >/dev/null && apt-get update -qq"
    visit.step("the host's configuration and this checkout", unpack, _brought(suite))
    before = visit.state()
    for what, options in DRILLS:
        visit.drill(what, options)
    visit.compare("the lab's drills", before)
    # From a file: incus reads its standard input.
    make = f"cat >production.sh && bash production.sh '{INCUS[suite]}' </dev/null"
    script = (HERE / "production.sh").read_bytes()
    visit.step("an Incus of Debian, with backups", make, script)
    before = visit.state()
    visit.drill("backups made by hand", PRODUCTION)
    visit.compare("the drills of production", before)
    return visit.end()


def _filled(config, work):
    """A disk with what this machine's cache has of the lab: its root, images, programs."""
    found = images.plan(Cache(config.cache), config)
    tree, disk = work / "cache", work / "filled.img"
    for artefact in (found.rootfs, found.tofu, *found.images.values()):
        beside = artefact.with_name(f"{artefact.name}.json")
        for path in (one for one in (artefact, beside) if one.exists()):
            there = tree / path.relative_to(config.cache)
            there.parent.mkdir(parents=True, exist_ok=True)
            run("cp", "-a", path, there)
    run("truncate", "-s", "20G", disk)
    run("mkfs.ext4", "-q", "-F", "-d", tree, disk)
    remove(tree)
    return disk


def _brought(suite):
    """This checkout and how this machine reaches packages, as a tar; nothing of it is kept."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = filter(None, _output(*listed).split("\0"))
    certificates = Path("/usr/local/share/ca-certificates").rglob("*.crt")
    taken = {f"root/atlas-drills/{name}": REPO / name for name in files}
    taken |= {name: Path("/", name) for name in (*FILES, *(str(c)[1:] for c in certificates))}
    mirrors = from_apt(override=os.environ.get("ATLAS_DRILLS_DEBIAN_MIRROR"))
    asked = _output("apt-config", "dump").splitlines()
    given = [f"{k}={shlex.quote(v)}" for k, v in os.environ.items() if COPIED.fullmatch(k)]
    written = {
        "etc/apt/sources.list": mirrors.sources(suite, backports=suite == "bookworm"),
        "etc/apt/apt.conf.d/90host": [one for one in asked if one.startswith(APT_OPTIONS)],
        "root/host.env": given,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in taken.items():
            if path.exists():
                tar.add(path, name, recursive=not name.startswith("root/atlas-drills/"))
        for name, lines in written.items():
            text = "".join(f"{line}\n" for line in lines).encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o600 if name.endswith("env") else 0o644
            tar.addfile(info, io.BytesIO(text))
    return packed.getvalue()


def _output(*argv):
    return subprocess.run(argv, cwd=REPO, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
