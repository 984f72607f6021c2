import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.lab import settings
from fixtures.lab.lab import Lab
from fixtures.plugin.observe import view_of_lab
from fixtures.plugin.target import back_up
from tests.populate import populate
from tests.remote.server import Server, no_buckets, small_fleet, trust, write_conf

IMAGES = ("mosquitto", "step-ca")


@pytest.fixture(scope="session", params=settings.INCUS_VERSIONS)
def far(request):
    """A remote server of each LTS series in turn, with a small fleet and backups of it."""
    # Short, since the path of a Unix socket is.
    home = Path(tempfile.mkdtemp(prefix="atlas-remote-", dir="/var/tmp"))
    own = {"state": home, "incus": request.param, "images": IMAGES}
    lab = Lab(f"remote-{os.getpid()}", config=replace(settings.from_environment(), **own))
    try:
        lab.up()
        file = small_fleet(home / "fleet.yaml", IMAGES)
        fleet, backups = load_fleet(file), lab.state_dir / "backups" / "production"
        server = Server(lab, file, backups, home / "conf")
        pinned = server.listen()
        make = back_up(lab.command, view_of_lab(lab, fleet.source_project), backups, fleet)
        populate(str(lab.socket), fleet, backups, lambda _: None, no_buckets, make)
        write_conf(server.conf, {"far": {}}, pinned)
        trust(server.owner, (server.conf / "client.crt").read_text(), "operator")
        yield server
    finally:
        lab.down()
        shutil.rmtree(home)
