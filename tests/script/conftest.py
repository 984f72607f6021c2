"""The machine that `docs/atlas-backup.sh` is performed on: a lab's own namespaces, with services.

Each `Place` is a project of its own, with its own directory of backups: places do not meet.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fixtures.clock import NotYet, wait_until
from fixtures.lab import settings
from fixtures.lab.lab import Lab
from tests.faults.conftest import WITH_SIGNALS

SCRIPT = Path(__file__).parents[2] / "docs" / "atlas-backup.sh"
PASSPHRASE = "a passphrase with blanks"
SECONDS = 120


def below(tree):
    """Files of a tree of which directories may go while it is looked at: glob would raise."""
    return (Path(where, name) for where, _, names in os.walk(tree) for name in names)


@dataclass
class Place:
    """A project in the lab, its backups, and the script performed on both."""

    lab: Lab
    name: str
    services: list[str] = field(default_factory=list)
    buckets: list[str] = field(default_factory=list)
    more: str = ""
    environment: Sequence[str] = ()

    @property
    def home(self):
        """What is /backup/NAME in the lab, as this process sees it."""
        return self.lab.state_dir / "backups" / self.name

    @property
    def backups(self):
        return self.home / "atlas"

    @property
    def notes(self):
        return sorted(path.name for path in (self.home / "state" / self.name).glob("*"))

    def run(self, *argv, check=True):
        """Run a program in the lab."""
        done = subprocess.run(
            self.lab.command(argv), capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def incus(self, *words):
        return self.run("incus", "--project", self.name, *words).stdout

    def make(self, instance, image="mosquitto", path="/mosquitto/data"):
        """An instance with a volume INSTANCE-data, running."""
        self.incus("storage", "volume", "create", "local", f"{instance}-data", "size=2GiB")
        self.incus("create", image, instance)
        disk = ("disk", "pool=local", f"source={instance}-data", f"path={path}")
        self.incus("config", "device", "add", instance, "data", *disk)
        self.incus("start", instance)
        self.settle(instance)

    def settle(self, instance):
        """Wait until it takes an order to stop."""
        look = ("incus", "--project", self.name, "exec", instance, "-n", "-T", "--")
        look += ("systemctl", "is-active", "multi-user.target")

        def is_up():
            if self.run(*look, check=False).returncode:
                raise NotYet("boots")

        wait_until(is_up, label=f"{instance} is up", timeout=SECONDS)

    def state(self, instance):
        return self.incus("list", f"^{instance}$", "--format", "csv", "--columns", "s").strip()

    def snapshots(self, volume):
        listed = self.incus("storage", "volume", "snapshot", "list", "local", volume, "-f", "csv")
        return [line.split(",")[0] for line in listed.splitlines()]

    def configure(self):
        passphrase = self.home / "passphrase"
        passphrase.write_text(PASSPHRASE + "\n")
        passphrase.chmod(0o600)
        inside = f"/backup/{self.name}"
        services, buckets = (
            " ".join(f'"{line}"' for line in lines) for lines in (self.services, self.buckets)
        )
        (self.home / "conf").write_text(
            f"PROJECT={self.name}\nBACKUP_DIR={inside}/atlas\nSTATE_DIR={inside}/state\n"
            f"PASSPHRASE_FILE={inside}/passphrase\nSERVICES=({services})\nBUCKETS=({buckets})\n"
            f"{self.more}\n"
        )
        # Replaced, not rewritten: bash reads a script as it goes.
        shutil.copy(SCRIPT, self.home / "new")
        (self.home / "new").replace(self.home / "atlas-backup.sh")

    def script(self, *words):
        """The command line of the script, leader of a session of its own as in a terminal."""
        self.configure()
        inside = f"/backup/{self.name}"
        call = ["bash", f"{inside}/atlas-backup.sh", "--config", f"{inside}/conf", *words]
        return self.lab.command(["setsid", "--wait", *WITH_SIGNALS, *self.environment, *call])

    def back_up(self, *words, status=0):
        """Run the script; return what it says."""
        to_one = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(self.script(*words), timeout=SECONDS, **to_one)
        assert done.returncode == status, done.stdout
        return done.stdout

    def files(self):
        """Every file under its final name."""
        return sorted(
            path
            for path in self.backups.glob("*Z/*")
            if not path.name.startswith(".") and path.suffix != ".sha256"
        )

    def unfinished(self):
        return sorted(path for path in below(self.backups) if "/." in str(path))

    def must_be_whole(self):
        """Every file is what its sum says; returns them."""
        for file in self.files():
            noted, name = file.with_name(file.name + ".sha256").read_text().split()
            assert name == file.name
            assert hashlib.sha256(file.read_bytes()).hexdigest() == noted, file
        return self.files()

    def holding(self, marker):
        """Files of the backups and of the lab's places for temporary ones with these bytes."""
        root = Path(f"/proc/{self.lab.status().pid}/root")
        trees = [self.home, *(root / name for name in ("tmp", "run", "root", "var/tmp"))]

        def has_it(path):
            # What is gone by now has not.
            with contextlib.suppress(OSError):
                return path.is_file() and not path.is_symlink() and marker in path.read_bytes()

        return [path for tree in trees for path in below(tree) if has_it(path)]


class Running:
    """The script at work, of which the process id is known."""

    def __init__(self, place, *words):
        self.process = subprocess.Popen(
            place.script(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # nsenter enters the lab's process namespace by a child.
        outer = self.process.pid
        children = Path(f"/proc/{outer}/task/{outer}/children")

        def leader():
            # It may end, or not have begun, between the listing and the look.
            with contextlib.suppress(OSError):
                for child in map(int, children.read_text().split()):
                    called = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"/atlas-backup.sh" in called and os.getpgid(child) == child:
                        return child
            if self.process.poll() is not None:
                return 0
            raise NotYet("it has not begun")

        self.pid = wait_until(leader, label="the script runs", timeout=10, poll=0.002)

    def send(self, what):
        """To its whole process group, as a terminal does."""
        if self.pid and self.process.poll() is None:
            try:
                os.killpg(self.pid, what)
            except ProcessLookupError:
                return

    def end(self):
        said, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    config = replace(settings.from_environment(), state=tmp_path_factory.mktemp("s"))
    lab = Lab(f"script-{os.getpid()}", config=config, images=())
    lab.up()
    try:
        lab.ensure_images(["mosquitto", "prometheus", "step-ca"])
        yield lab
    finally:
        lab.down()


def place_in(lab, name):
    """A new place: its project, with a root disk in the default profile."""
    place = Place(lab, name)
    place.home.mkdir(mode=0o700)
    features = ("features.images=false", "features.profiles=true")
    more = ("features.storage.volumes=true", "features.storage.buckets=true")
    config = [word for feature in (*features, *more) for word in ("-c", feature)]
    place.run("incus", "project", "create", name, *config)
    place.incus("profile", "device", "add", "default", "root", "disk", "path=/", "pool=local")
    return place
