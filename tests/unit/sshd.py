"""A real OpenSSH server on 127.0.0.1, with keys of its own and a home of ours; for tests."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection, create_server

import pytest

from fixtures.backups import remote, servers

SSHD = "/usr/sbin/sshd"

needs_ssh = pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")


@dataclass
class Sshd:
    """The running server.

    Attributes:
        home: that the client has to use, with `.ssh`: the server is `backups` in its config.
    """

    port: int
    home: Path
    process: subprocess.Popen

    @property
    def known_hosts(self):
        return self.home / ".ssh/known_hosts"

    def url(self, path):
        return remote.remote_path(f"sftp://backups{path}")

    def cut(self):
        """Cut all connections; the server goes on."""
        told = ["pkill", "-9", "-P", str(self.process.pid)]
        subprocess.run(told, check=False)


def make_key(path):
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path.with_suffix(".pub").read_text().rsplit(" ", 1)[0]


def free_port():
    with create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def serving(directory):
    """Serve files by SFTP while the block lasts."""
    home, port = directory / "home", free_port()
    ssh = home / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    host_key, user_key = make_key(directory / "host"), make_key(ssh / "id_ed25519")
    (directory / "authorized").write_text(user_key + "\n")
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (ssh / "config").write_text(f"Host backups\n  HostName 127.0.0.1\n  Port {port}\n  User root\n")
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host\nPidFile none\n"
        f"AuthorizedKeysFile {directory}/authorized\nStrictModes no\nUsePAM yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with open(directory / "log", "wb") as log:
        argv = [SSHD, "-D", "-e", "-f", str(directory / "sshd_config")]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with suppress(OSError), create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield Sshd(port, home, process)
    finally:
        process.terminate()
        process.wait()
        forget()


def forget():
    """Forget what was listed, and every connection."""
    remote.LISTED.clear()
    servers.server_of.cache_clear()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that the client finds by its own configuration."""
    with serving(tmp_path / "ssh") as here:
        monkeypatch.setenv("HOME", str(here.home))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        yield here
