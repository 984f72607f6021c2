"""An ordinary Debian server in qemu: its image made once, a fresh machine of it for each run."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.lab.cache import Cache
from fixtures.lab.images import from_apt

SUITES = ("trixie", "bookworm")
PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "dbus", "apparmor", "kmod", "udev"),
    *("openssh-server", "python3", "git", "ca-certificates", "iproute2", "procps", "cron", "less"),
)
"""What a Debian server has; not venv, gpg, zstd, mmdebstrap, btrfs-progs, Incus."""
DISK = "40G"
MEMORY_MIB = 5120
BOOT_SECONDS = {"kvm": 60, "tcg": 300}
KERNEL_SECONDS = 10
"""Within these a kernel under KVM has written its first line."""
NETWORK = "[Match]\nName=e*\n[Network]\nDHCP=ipv4\n"


def run(*argv, env=None):
    """Run a command that has to succeed."""
    subprocess.run([*map(str, argv)], check=True, env=env)


def image(suite, cache):
    """A directory with a suite's disk, kernel and key, made where the cache has none of it."""
    made_from = repr((suite, PACKAGES, NETWORK, DISK, inspect.getsource(_make)))
    key = hashlib.sha256(made_from.encode()).hexdigest()
    store = Cache(cache, lambda line: print(line, flush=True))
    where = store.path("hosts", suite, key)
    return store.made(where, f"machine {suite}", lambda work: _make(suite, work))


def _make(suite, work):
    work.mkdir(parents=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "key")
    root = work / "tree"
    mirrors = from_apt(override=os.environ.get("ATLAS_DRILLS_DEBIAN_MIRROR"))
    run(
        *("unshare", "--mount", "mmdebstrap", "--mode=root", "--variant=important"),
        *("--dpkgopt=force-unsafe-io", '--aptopt=Apt::Install-Recommends "false"'),
        f"--include={','.join(PACKAGES)}",
        *(suite, root, *mirrors.sources(suite, backports=suite == "bookworm")),
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    for name, text in {
        "etc/hostname": f"{suite}\n",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        "etc/systemd/network/10-any.network": NETWORK,
        # Of qemu's own network.
        "etc/resolv.conf": "nameserver 10.0.2.3\n",
    }.items():
        (root / name).unlink(missing_ok=True)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    allowed = root / "root/.ssh/authorized_keys"
    allowed.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(work / "key.pub", allowed)
    run("chroot", root, "systemctl", "-q", "enable", "systemd-networkd", "ssh")
    for kind, name in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
        shutil.copy(next((root / "boot").glob(f"{kind}-*")), work / name)
    run("truncate", "-s", DISK, work / "root.img")
    run("mkfs.ext4", "-q", "-F", "-d", root, work / "root.img")
    shutil.rmtree(root)


@dataclass
class Machine:
    """A machine that runs, of an image; `ssh` is the way into it."""

    image: Path
    work: Path
    further: tuple[Path, ...] = ()
    accelerator: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _port: int = 0

    def boot(self):
        """Start it and wait until it lets us in: by KVM where that works, else emulated."""
        usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
        for self.accelerator in (*(["kvm"] if usable else []), "tcg"):
            self._start()
            if self._lets_in():
                return
            print(f"hosts: the machine does not start by {self.accelerator}", flush=True)
            self.stop()
        sys.exit(f"hosts: no machine started; its console:\n{self._said()[-4000:]}")

    def _start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        disks = [self._overlay(disk) for disk in (self.image / "root.img", *self.further)]
        fast = ["kvm"] if self.accelerator == "kvm" else ["tcg,thread=multi,tb-size=1024"]
        nic = f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        argv = [
            *("setpriv", "--pdeathsig", "KILL", "nice", "qemu-system-x86_64", "-accel", *fast),
            *("-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB), "-nographic", "-no-reboot"),
            *("-kernel", str(self.image / "vmlinuz"), "-initrd", str(self.image / "initrd")),
            *("-append", "root=/dev/vda rw console=ttyS0"),
            *(word for disk in disks for word in ("-drive", disk)),
            *("-nic", nic, "-device", "virtio-rng-pci"),
        ]
        with (self.work / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )

    def _overlay(self, disk):
        made = self.work / f"{disk.stem}.qcow2"
        made.unlink(missing_ok=True)
        # Quiet: it is told in words what is made.
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, made)
        return f"file={made},if=virtio,cache=unsafe,discard=unmap"

    def _said(self):
        return (self.work / "console.log").read_text(errors="replace")

    def _lets_in(self):
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < BOOT_SECONDS[self.accelerator]:
            if self._process.poll() is not None:
                return False
            silent = "Linux version" not in self._said()
            if self.accelerator == "kvm" and silent and waited > KERNEL_SECONDS:
                return False
            with contextlib.suppress(subprocess.SubprocessError):
                if self.ssh("true", check=False, timeout=20).returncode == 0:
                    return True
            time.sleep(1)
        return False

    def ssh(self, script, *, check=True, timeout=1800, content=b"", output=None):
        """Run a script in it, by bash; `content` is its standard input."""
        options = [f"UserKnownHostsFile={self.work / 'known_hosts'}", "ConnectTimeout=10"]
        options += ["StrictHostKeyChecking=accept-new", "BatchMode=yes"]
        # An emulated machine on a busy one may be silent for minutes.
        options += ["ServerAliveInterval=30", "ServerAliveCountMax=40"]
        argv = ["ssh", "-q", "-p", str(self._port), "-i", str(self.image / "key")]
        argv += [word for option in options for word in ("-o", option)]
        return subprocess.run(
            [*argv, "root@127.0.0.1", f"bash -c {shlex.quote(script)}"],
            check=check,
            timeout=timeout,
            input=content,
            stdout=output,
            stderr=output and subprocess.STDOUT,
        )

    def stop(self):
        """End it, as a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def booted(image, work, further):
    """A fresh machine of an image, for as long as the block lasts."""
    machine = Machine(image, work, further)
    try:
        machine.boot()
        yield machine
    finally:
        machine.stop()
