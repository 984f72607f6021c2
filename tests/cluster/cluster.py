"""Three servers in one cluster, each in namespaces of its own, joined by a bridge."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy, ReadPolicy
from fixtures.lab import host, images, settings
from fixtures.lab.cache import Cache
from fixtures.lab.daemon import Daemon
from fixtures.plugin.observe import SourceView
from fixtures.plugin.target import back_up
from tests.populate import populate
from tests.remote.server import no_buckets, run_near, small_fleet, trust, write_conf

NAMES = ("m1", "m2", "m3")
POOL = {"source": "", "size": "5GiB"}
WHERE = {"mosquitto": "m2", "alertmanager": "m3"}
"""Services of the source -> their member; m1 holds the bridge, and is never killed."""


@dataclass
class Cluster:
    """A cluster with a source project on it, and a user of the client.

    Attributes:
        home: of everything.
        daemons: name -> member.
    """

    home: Path
    daemons: dict[str, Daemon]

    @property
    def backups(self):
        """Directory of the exported files, which the first member sees as well."""
        return self.daemons["m1"].state / "backups" / "production"

    @property
    def first(self):
        """The owner's view, by the first member's socket."""
        socket = str(self.daemons["m1"].socket)
        return Incus(socket, OwnServerPolicy(socket))

    @property
    def fleet(self):
        """File of the fleet that its source project holds."""
        return self.home / "fleet.yaml"

    def run(self, *argv):
        """Run a program of this checkout inside the first member's network."""
        return run_near(self.daemons["m1"].pid(), self.home / "conf", *argv)

    def kill(self, name):
        """End a member as a power cut would."""
        self.daemons[name].stop()

    def down(self):
        """End all of it; nothing of it is left."""
        for daemon in reversed(self.daemons.values()):
            daemon.stop()
        shutil.rmtree(self.home)


def inside(daemon, *argv):
    """Run `ip` in a member's network namespace."""
    subprocess.run(
        ["nsenter", f"--net=/proc/{daemon.pid()}/ns/net", "ip", *argv], check=True, timeout=30
    )


def up():
    """Start, connect, join and fill it.

    Raises:
        LabError: a member did not start.
    """
    home = Path(tempfile.mkdtemp(prefix="atlas-cluster-", dir="/var/tmp"))
    config = replace(settings.from_environment(), state=home, images=tuple(WHERE))
    images.build(Cache(config.cache), config, config.images)
    artefacts = images.plan(Cache(config.cache), config)
    made = Cluster(home, {})
    try:
        for name in NAMES:
            made.daemons[name] = Daemon(name, home / name)
            made.daemons[name].start(artefacts.rootfs, dies_with_us=True)
        _connect(made.daemons)
        pinned = _join(made)
        for name, tarball in artefacts.images.items():
            client = made.daemons["m1"].client
            done = client.upload("/1.0/images", tarball, {"X-Incus-filename": tarball.name})
            alias = {"name": name, "target": done["metadata"]["fingerprint"]}
            client.call("POST", "/1.0/images/aliases", alias)
        _fill(made)
        write_conf(home / "conf", {"far": {"addr": f"https://{address('m1')}:8443"}}, pinned)
        trust(made.first, (home / "conf" / "client.crt").read_text(), "operator")
    except BaseException:
        made.down()
        raise
    return made


def address(name):
    """Return the address of a member, on the bridge."""
    return f"10.77.0.1{name[1:]}"


def _connect(daemons):
    first = daemons["m1"]
    inside(first, "link", "add", "br0", "type", "bridge")
    inside(first, "addr", "add", f"{address('m1')}/24", "dev", "br0")
    inside(first, "link", "set", "br0", "up")
    for name in NAMES[1:]:
        cable = ["link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0"]
        inside(first, *cable, "netns", str(daemons[name].pid()))
        inside(first, "link", "set", f"to-{name}", "master", "br0", "up")
        inside(daemons[name], "addr", "add", f"{address(name)}/24", "dev", "eth0")
        inside(daemons[name], "link", "set", "eth0", "up")


def _join(cluster):
    """Make a cluster of all members, with a pool; return its certificate."""
    first = cluster.daemons["m1"].client
    first.call("PATCH", "/1.0", {"config": {"core.https_address": f"{address('m1')}:8443"}})
    first.call("PUT", "/1.0/cluster", {"server_name": "m1", "enabled": True})
    pool = {"name": "local", "driver": "btrfs"}
    first.call("POST", "/1.0/storage-pools?target=m1", {**pool, "config": POOL})
    first.call("POST", "/1.0/storage-pools", pool)
    root = {"type": "disk", "path": "/", "pool": "local"}
    first.call("PUT", "/1.0/profiles/default", {"devices": {"root": root}})
    pinned = (cluster.daemons["m1"].state / "lib" / "cluster.crt").read_text()
    for name in NAMES[1:]:
        order = {"server_name": name}
        found = cluster.first.start_operation("cluster", "members", body=order)["metadata"]
        token = {key: found[key] for key in ("fingerprint", "addresses", "secret")}
        token |= {"server_name": name, "expires_at": found["expiresAt"]}
        pool = {"entity": "storage-pool", "name": "local"}
        request = {
            "server_name": name,
            "enabled": True,
            "server_address": f"{address(name)}:8443",
            "cluster_address": f"{address('m1')}:8443",
            "cluster_certificate": pinned,
            "cluster_token": base64.b64encode(json.dumps(token).encode()).decode(),
            "member_config": [{**pool, "key": key, "value": it} for key, it in POOL.items()],
        }
        cluster.daemons[name].client.call("PUT", "/1.0/cluster", request)
    return pinned


def _fill(cluster):
    fleet = load_fleet(small_fleet(cluster.fleet, tuple(WHERE)))
    first, backups = cluster.daemons["m1"], cluster.backups
    incus = Incus(str(first.socket), ReadPolicy(), project=fleet.source_project)

    def connect(address, port):
        """Connect on the member that has the service: there its proxies listen."""
        for daemon in cluster.daemons.values():
            with contextlib.suppress(ConnectionRefusedError):
                return host.dial(daemon.pid(), port, address)
        raise ConnectionRefusedError(f"nothing listens on {address}:{port}")

    view = SourceView(incus, "127.0.0.1", connect)
    make = back_up(first.command, view, backups, fleet)
    populate(str(first.socket), fleet, backups, lambda _: None, no_buckets, make, WHERE)
