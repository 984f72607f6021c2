"""A standalone Incus, reached over HTTPS as an operator's own would be."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.errors import CouldNotLook
from fixtures.evidence.record import RunRecord
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
PORT = 8443
ADDRESS = f"https://127.0.0.1:{PORT}"


@dataclass
class Server:
    """One server with a source project, and a user who has an incus client.

    Attributes:
        lab: the daemon, in a network namespace of its own.
        fleet: file of the fleet that its source project holds.
        backups: directory of the source's exported files.
        conf: the user's configuration of the incus client.
    """

    lab: Lab
    fleet: Path
    backups: Path
    conf: Path

    @property
    def owner(self):
        """The owner's view, by the unix socket."""
        socket = str(self.lab.socket)
        return Incus(socket, OwnServerPolicy(socket))

    def listen(self):
        """Serve HTTPS on the loopback of its namespace; return its certificate (PEM)."""
        self.owner.patch(body={"config": {"core.https_address": f"127.0.0.1:{PORT}"}})
        return str(self.owner.server["environment"]["certificate"])

    def projects(self, prefix):
        """Return the names of the server's projects that begin so."""
        found = [str(each["name"]) for each in self.owner.get_list("projects")]
        return [name for name in found if name.startswith(prefix)]

    def run(self, *argv):
        """Run a program of this checkout inside the server's network, with the user's client."""
        return run_near(self.lab._daemon().pid(), self.conf, *argv)


def run_near(pid, conf, *argv):
    """Run a program of this checkout in the network of a process, as a user of the client."""
    own = {"INCUS_CONF": str(conf), "INCUS_GLOBAL_CONF": f"{conf}/none", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, *argv],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )


def drill(server, reports, *options, target="far"):
    """Run drills over HTTPS, as an operator types it: (process, record or None)."""
    done = server.run(
        *("-m", "pytest", "drills", "-q", "-p", "no:cacheprovider", f"--incus={target}"),
        *("-p", "tests.faults.brief", f"--fleet={server.fleet}", f"--backups={server.backups}"),
        *(f"--passphrase-file={server.backups / 'passphrase'}", f"--reports={reports}", *options),
    )
    found = [file.read_text() for file in reports.glob("*/evidence.json")]
    return done, RunRecord.model_validate_json(found[0]) if found else None


@contextlib.contextmanager
def no_buckets():
    raise CouldNotLook("the fleet of this server has none")
    yield


def trust(owner, certificate, name):
    """Trust a client certificate, as the server's owner."""
    lines = certificate.strip().splitlines()[1:-1]
    order = {"type": "client", "name": name, "certificate": "".join(lines)}
    owner.post("certificates", body=order)


def write_conf(directory, remotes, pinned):
    """Write an incus client's configuration with a new certificate, laid out as by the client."""
    (directory / "servercerts").mkdir(parents=True)
    usual = {"project": "default", "protocol": "incus", "public": False}
    listed = {"local": {"addr": "unix://", "protocol": "incus", "public": False}}
    for name, remote in remotes.items():
        listed[name] = {"addr": ADDRESS, "auth_type": "tls", **usual, **remote}
    content = {"default-remote": "local", "remotes": listed, "aliases": {}}
    (directory / "config.yml").write_text(yaml.safe_dump(content))
    for name in remotes:
        (directory / "servercerts" / f"{name}.crt").write_text(pinned)
    write_pair(directory / "client")
    return directory


def write_pair(stem, password=None):
    """Write a self-signed certificate and its key; return the certificate (PEM)."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem.name)])
    begun = datetime.now(UTC) - timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(begun + timedelta(days=2))
        .sign(key, hashes.SHA384())
    )
    lock = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    stem.parent.mkdir(parents=True, exist_ok=True)
    certificate = made.public_bytes(pem).decode()
    stem.with_suffix(".crt").write_text(certificate)
    stem.with_suffix(".key").write_bytes(key.private_bytes(pem, form, lock))
    return certificate


def small_fleet(file, names, change=lambda _: None):
    """Write a fleet of some services of Atlas, in another source project."""
    whole = yaml.safe_load((ROOT / "fleets" / "atlas.yaml").read_text())
    whole |= {"name": "remote", "source_project": "production", "buckets": []}
    whole["services"] = [each for each in whole["services"] if each["name"] in names]
    for entry, key in [(whole, "apply"), (whole, "runbook")] + [
        (service, "depends_on") for service in whole["services"]
    ]:
        entry.pop(key, None)
    change(whole)
    file.write_text(yaml.safe_dump(whole))
    return file
