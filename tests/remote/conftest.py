import contextlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook
from fixtures.fleet.load import load_fleet
from fixtures.lab import settings
from fixtures.lab.lab import Lab
from fixtures.plugin.observe import view_of_lab
from fixtures.plugin.target import back_up
from tests.populate import populate
from tests.remote.server import Server, small_fleet, write_conf

IMAGES = ("mosquitto", "step-ca")


@contextlib.contextmanager
def no_buckets():
    raise CouldNotLook("the fleet of this server has none")
    yield


def serve(version):
    """A server of its own with a small fleet, backups of it, and a client that it trusts."""
    # Short, since the path of a Unix socket is.
    home = Path(tempfile.mkdtemp(prefix="atlas-remote-", dir="/var/tmp"))
    config = replace(settings.from_environment(), state=home, incus=version, images=tuple(IMAGES))
    lab = Lab(f"remote-{os.getpid()}", config=config)
    try:
        lab.up()
        file = small_fleet(home / "fleet.yaml", IMAGES)
        fleet, backups = load_fleet(file), lab.state_dir / "backups" / "production"
        server = Server(lab, file, backups, home / "conf", backups / "passphrase")
        pinned = server.listen()
        view = view_of_lab(lab, fleet.source_project)
        make = back_up(lab.command, view, backups, fleet)
        populate(str(lab.socket), fleet, backups, lambda _: None, no_buckets, make)
        write_conf(server.conf, {"far": {}}, pinned)
        server.trust((server.conf / "client.crt").read_text(), "operator")
        yield server
    finally:
        lab.down()
        shutil.rmtree(home)


@pytest.fixture(scope="session", params=settings.INCUS_VERSIONS)
def far(request):
    """A remote server, of each LTS series in turn."""
    yield from serve(request.param)
