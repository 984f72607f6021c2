"""Each way to the instance of a service, against a real Incus with a source that must not change.

Needs root and Linux; the lab is one of the test's own.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import websocket
from pylxd.exceptions import LXDAPIException

from fixtures.errors import CouldNotLook, IncusError, RecoveryFailed, UsageError
from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.doorway import doorway
from fixtures.incus.events import EVENTS
from fixtures.incus.guard import DrillPolicy, OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import inventory
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume
from fixtures.lab import images, settings
from fixtures.lab.cache import Cache
from fixtures.lab.lab import Lab
from fixtures.lab.settings import BUCKET_POOL
from fixtures.recovery import provision
from fixtures.recovery.provision import (
    ByCommand,
    FromImage,
    FromSource,
    instance_meanwhile,
    must_be_copyable,
)
from fixtures.secrets import Secret

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
ROOT = Path(__file__).parents[2]
POOL, SOURCE, RUN = "local", "plays-production", "20260101-000000-provis"
SPEC = load_fleet(ROOT / "fleets" / "atlas.yaml").service("mosquitto")
NAME, PATH = SPEC.instance, SPEC.volumes[0].path
OPERATOR = [sys.executable, str(Path(__file__).with_name("apply.py"))]
PROFILE = {
    "config": {
        "limits.memory": "512MiB",
        "boot.autostart": "true",
        "boot.host_shutdown_timeout": "5",
        "user.note": "of the profile",
    },
    "devices": {
        "data": {"type": "disk", "pool": POOL, "source": "production", "path": PATH},
        "mqtt": {
            "type": "proxy",
            "listen": "unix:/var/lib/incus/mqtt.sock",
            "connect": "tcp:127.0.0.1:1883",
        },
        "eth1": {"type": "nic", "nictype": "p2p"},
    },
}
CONFIG = {
    "limits.cpu": "1",
    "environment.MODE": "production",
    "boot.autostart": "true",
    "user.note": "local",
    "cloud-init.network-config": "version: 2",
    "cloud-init.user-data": "#cloud-config\nruncmd: [[touch, /acted]]",
    "security.protection.delete": "true",
    "snapshots.schedule": "@yearly",
}
DEVICES = {
    "disk0": {"type": "disk", "path": "/", "pool": POOL, "size": "3GiB"},
    "eth0": {"type": "nic", "nictype": "p2p"},
    "host": {"type": "disk", "source": "/etc", "path": "/mnt"},
    "null": {"type": "unix-char", "source": "/dev/null", "path": "/dev/other"},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return replace(settings.from_environment(), state=tmp_path_factory.mktemp("s"))


@pytest.fixture(scope="module")
def server(config):
    lab = Lab(f"lab-provision-{os.getpid()}", config=config)
    lab.up()
    yield Incus(str(lab.socket), OwnServerPolicy(str(lab.socket)))
    lab.down()


@pytest.fixture(scope="module")
def source(server):
    """A running instance with a profile and devices of its own, in a project of its own."""
    features = {f"features.{f}": "true" for f in ("profiles", "storage.volumes", "storage.buckets")}
    config = {**features, "features.images": "false"}
    server.api.projects.post(json={"name": SOURCE, "config": config})
    view = server.within(SOURCE)
    Volume(view, POOL, "production").create({"size": "50MiB"})
    view.api.profiles.post(json={"name": "svc", **PROFILE})
    Instance(view, NAME).create("mosquitto", DEVICES, CONFIG, profiles=("svc",))
    Instance(view, NAME).start()
    Instance(view, NAME).push("/root/of-production", b"yes")
    view.wait(view.api.instances[NAME].snapshots.post(json={"name": "yesterday"}))
    return view


@pytest.fixture
def unchanged(server, source):
    """The source is what it was, and runs."""
    before = inventory(server, SOURCE)
    yield
    assert before is not None
    assert inventory(server, SOURCE) == before
    assert Instance(source, NAME).status() == "Running"


@pytest.fixture
def room(server):
    """The view of a drill project, through the guard."""
    guarded = Incus(server.endpoint, DrillPolicy(RUN))
    project = DrillProject(guarded, RUN, f"drill-{RUN}")
    yield project.create(POOL)
    project.delete()


@pytest.fixture
def volume(room):
    made = Volume(room, POOL, SPEC.volumes[0].name)
    made.create({"size": "50MiB"})
    return made


def seen(room, name=NAME):
    return room.api.instances[name].get().json()["metadata"]


def names(room):
    listed = room.api.instances.get(params={"recursion": "1"}).json()["metadata"]
    return [instance["name"] for instance in listed]


def working(made):
    return {n: d for n, d in made["expanded_devices"].items() if d["type"] != "none"}


def must_run_on(room, volume):
    """It starts, and what it writes to its data is on the volume of the drill."""
    instance = Instance(room, NAME)
    instance.start()
    instance.wait_until_usable()
    instance.must_exec(["touch", f"{PATH}/seen"])
    assert instance.must_exec(["ls", "/sys/class/net"]).split() == ["lo"]
    assert (volume.pool, volume.name) == (POOL, working(seen(room))["data"]["source"])
    return instance


def test_an_instance_is_removed_in_the_midst_of_its_start(room, volume):
    """As after Ctrl-C: Incus goes on to start it, and kills nothing meanwhile."""
    instance = Instance(room, NAME)
    for _ in range(5):
        FromImage().provide(room, SPEC, volume)
        room.api.instances[NAME].state.put(json={"action": "start"})
        instance.remove()
        assert not instance.exists()


def test_from_image(room, volume):
    assert FromImage().provide(room, SPEC, volume) == []
    assert seen(room)["status"] == "Stopped"
    must_run_on(room, volume)


def test_a_copy_has_the_sources_root_and_nothing_that_acts(unchanged, room, volume):
    begun = time.monotonic()
    left = FromSource(SOURCE).provide(room, SPEC, volume)
    assert time.monotonic() - begun < 10
    made = seen(room)
    assert (made["status"], made["profiles"], made["ephemeral"]) == ("Stopped", ["default"], False)
    data = {"type": "disk", "pool": POOL, "source": volume.name, "path": PATH}
    root = {"type": "disk", "pool": POOL, "path": "/", "size": "3GiB"}
    assert working(made) == {"root": root, "data": data}
    config = {key: value for key, value in made["config"].items() if not key.startswith("image.")}
    volatile = {key for key in config if key.startswith("volatile.")}
    assert {key: config[key] for key in config.keys() - volatile} == {
        "limits.cpu": "1",
        "limits.memory": "512MiB",
        "environment.MODE": "production",
    }
    assert not any("eth" in key for key in volatile)
    limits = made["expanded_config"].items() - made["config"].items()
    assert {key for key, _ in limits} <= {"limits.cpu.allowance", "limits.processes"}
    snapshots = room.api.instances[NAME].snapshots.get(params={"recursion": "1"}).json()
    assert snapshots["metadata"] == []
    assert {"device eth0 (nic)", "device eth1 (nic)", "device mqtt (proxy)"} < set(left)
    assert "config cloud-init.user-data" in left
    instance = must_run_on(room, volume)
    assert instance.pull("/root/of-production") == b"yes"
    assert instance.exec(["ls", "/acted", "/dev/other"]).stdout == ""


@contextmanager
def watched(instance):
    """What states an instance is seen in while the block lasts."""
    states, over = set(), threading.Event()

    def look():
        while not over.is_set():
            states.add(instance.status())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield states
    finally:
        over.set()
        watcher.join()


def test_a_source_that_runs_on_a_pool_without_snapshots_is_not_frozen(server, source, room, volume):
    spec = SPEC.model_copy(update={"instance": "plain01"})
    plain = Instance(source, spec.instance)
    plain.create("mosquitto", {"root": {"type": "disk", "path": "/", "pool": BUCKET_POOL}}, {})
    plain.start()
    within = server.within(room.project)
    order = {"type": "copy", "source": plain.name, "project": SOURCE, "instance_only": True}
    with watched(Instance(server.within(SOURCE), plain.name)) as states:
        within.wait(within.api.instances.post(json={"name": "frozen", "source": order}))
    # Freezing, Frozen, or both, as far as it was seen.
    assert states > {"Running"}, "what Incus does unless it is told otherwise"
    with watched(Instance(server.within(SOURCE), plain.name)) as states:
        FromSource(SOURCE).provide(room, spec, volume)
    assert states == {"Running"}
    plain.kill()
    plain.delete()


@pytest.mark.parametrize("way", [FromImage(), FromSource(SOURCE)], ids=["image", "source"])
def test_an_instance_made_ahead_of_its_volume_is_the_same(unchanged, room, volume, way):
    def settled(made):
        volatile = {key for key in made["config"] if key.startswith("volatile.")}
        config = {key: made["config"][key] for key in made["config"].keys() - volatile}
        return (working(made), config, made["profiles"], made["status"])

    lacks = way.provide(room, SPEC, volume)
    wanted = settled(seen(room))
    instance = Instance(room, NAME)
    instance.remove()
    volume.delete()
    with instance_meanwhile(way, instance, SPEC, volume) as found:
        volume.create({"size": "50MiB"})
    assert settled(seen(room)) == wanted
    assert found == lacks
    must_run_on(room, volume)


def test_a_restore_that_fails_is_told_before_an_instance_that_fails(room, volume):
    instance = Instance(room, NAME)
    with (
        pytest.raises(RecoveryFailed, match="the restore failed"),
        instance_meanwhile(FromSource("no-such-project"), instance, SPEC, volume),
    ):
        raise RecoveryFailed("the restore failed")
    with (
        pytest.raises(CouldNotLook, match="there is nothing to copy"),
        instance_meanwhile(FromSource("no-such-project"), instance, SPEC, volume),
    ):
        pass
    assert names(room) == []


def test_incus_gives_a_copy_what_its_order_does_not_name(unchanged, server, room):
    """The reason why `FromSource` names every device and key of the source."""
    # Which of the forbidden devices it names is by chance.
    with pytest.raises(LXDAPIException, match="forbidden"):
        copy = {"type": "copy", "source": NAME, "project": SOURCE, "instance_only": True}
        copy["allow_inconsistent"] = True
        room.wait(room.api.instances.post(json={"name": "x", "source": copy, "profiles": []}))
    with pytest.raises(IncusError, match="More than one root device found"):
        order = {"name": "x", "source": copy, "profiles": ["default"]}
        off = {name: {"type": "none"} for name in ("eth0", "host", "null")}
        room.wait(room.api.instances.post(json={**order, "devices": off}))
    room.wait(room.api.instances.post(json={**order, "profiles": [], "devices": off}))
    made = seen(room, "x")
    assert made["config"]["user.note"] == "local" and "limits.memory" not in made["config"]
    assert made["devices"]["disk0"]["size"] == "3GiB"
    server.within(room.project).api.instances["x"].patch(
        json={"config": {"security.protection.delete": "false"}}
    )


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("raw.lxc", "lxc.environment = A=b", "its config has raw.lxc"),
        ("security.privileged", "true", "its config has security.privileged"),
        ("security.syscalls.intercept.mknod", "true", "its config has security.syscalls.intercept"),
        ("boot.host_shutdown_timeout", "5", 'low-level config "boot.host_shutdown_timeout"'),
        ("limits.memory.swap", "false", 'low-level config "limits.memory.swap"'),
    ],
)
def test_what_a_restricted_project_cannot_hold_is_not_copied(source, room, volume, key, value, why):
    name = "odd01"
    odd = Instance(source, name)
    odd.create("mosquitto", {"disk0": DEVICES["disk0"]}, {key: value}, profiles=())
    try:
        with pytest.raises(CouldNotLook) as told:
            FromSource(SOURCE).provide(room, SPEC.model_copy(update={"instance": name}), volume)
    finally:
        odd.delete()
    assert f"instance {name} of project {SOURCE} cannot be copied" in told.value.message
    assert why in told.value.message
    assert names(room) == []


def test_a_copy_without_an_original_or_of_a_machine_is_told(unchanged, room, volume):
    with pytest.raises(CouldNotLook, match="there is nothing to copy: read instance nobody"):
        FromSource(SOURCE).provide(room, SPEC.model_copy(update={"instance": "nobody"}), volume)
    with pytest.raises(CouldNotLook, match="a virtual-machine, and drills are made of containers"):
        must_be_copyable({"type": "virtual-machine", "expanded_config": {}}, "instance vm")


def test_a_copy_that_is_not_closed_is_removed(unchanged, room, volume, monkeypatch):
    monkeypatch.setattr(
        provision, "_config_of_copy", lambda source: {"security.protection.delete": ""}
    )
    with pytest.raises(CouldNotLook, match="settings .*'cloud-init.user-data'.*'user.note'"):
        FromSource(SOURCE).provide(room, SPEC, volume)
    assert names(room) == []


@pytest.mark.parametrize("act", ["make", "make-and-start"])
def test_by_command(unchanged, room, volume, act):
    with instance_meanwhile(
        ByCommand([*OPERATOR, act]), Instance(room, NAME), SPEC, volume
    ) as lacks:
        assert names(room) == []
    assert lacks == []
    assert seen(room)["status"] == "Stopped"
    must_run_on(room, volume)


def test_by_the_incus_client_with_a_profile_that_mounts_the_volume(unchanged, config, room, volume):
    """As Atlas does it; the client waits by the events of the doorway."""
    rootfs = images.plan(Cache(config.cache), config).rootfs
    loader = [rootfs / "lib64/ld-linux-x86-64.so.2", "--library-path"]
    client = shlex.join(
        map(str, [*loader, rootfs / "usr/lib/x86_64-linux-gnu", rootfs / "usr/bin/incus"])
    )
    script = f"""
    set -eu
    incus() {{ {client} "$@"; }}
    incus remote list --format csv >&2
    incus profile create svc
    volume="pool=$ATLAS_DRILLS_POOL source=$ATLAS_DRILLS_VOLUME"
    incus profile device add svc data disk $volume path={PATH}
    incus launch mosquitto $ATLAS_DRILLS_INSTANCE --profile default --profile svc
    """
    ByCommand(["sh", "-c", script]).provide(room, SPEC, volume)
    assert seen(room)["profiles"] == ["default", "svc"]
    must_run_on(room, volume)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("make-elsewhere", f"ended well, but instance {NAME} has nothing mounted at {PATH}"),
        ("make-on-another-volume", f"'other')] mounted at {PATH} instead of volume"),
        ("replace-the-volume", "ended well, but has replaced volume mosquitto01-data on pool"),
        ("make-nothing", f"ended well, but instance {NAME} is not in project drill-"),
        ("delete-source", f"status 1: the doorway refused DELETE /1.0/instances/{NAME}?project="),
        ("stop-source", f"status 1: the doorway refused PUT /1.0/instances/{NAME}/state?project="),
        ("make-in-default", "the doorway refused POST /1.0/profiles?project=default"),
        ("make-without-project", "the doorway refused POST /1.0/profiles: it is not for project"),
        ("loosen", "projects are made and changed by the drill alone"),
        ("fail", "apply.py fail '[redacted]'\" ended with status 1: the token is [redacted]"),
    ],
)
def test_a_command_that_does_not_make_it_fails(unchanged, server, room, volume, act, why):
    before = inventory(server, "default")
    secret = Secret("hunter2 of the operator")
    argument = secret.reveal() if act == "fail" else SOURCE
    with pytest.raises(RecoveryFailed) as told:
        ByCommand([*OPERATOR, act, argument]).provide(room, SPEC, volume)
    assert why in told.value.message
    assert inventory(server, "default") == before


def is_alive(pid):
    """A zombie is not: it waits for PID 1, which may be slow to look."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_hangs_is_ended_with_its_children(unchanged, room, volume, tmp_path):
    pid = tmp_path / "pid"
    script = f"trap '' TERM; sleep 600 & echo $! > {pid}; echo waiting; wait"
    begun = time.monotonic()
    with pytest.raises(RecoveryFailed, match=r"did not end within 1 s: waiting"):
        ByCommand(["sh", "-c", script], timeout=1).provide(room, SPEC, volume)
    assert time.monotonic() - begun < 15
    deadline = time.monotonic() + 5
    while is_alive(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(int(pid.read_text()))


def test_a_command_that_cannot_be_started_or_lacks_a_variable_is_told(room, volume):
    with pytest.raises(RecoveryFailed, match=r"command '/no/tofu' cannot be started"):
        ByCommand(["/no/tofu"]).provide(room, SPEC, volume)
    with pytest.raises(UsageError, match="TF_VAR_nobody is not in the environment, and tofu needs"):
        ByCommand(["tofu"], keep=["TF_VAR_nobody"]).provide(room, SPEC, volume)


def test_a_command_sees_nothing_of_our_environment(room, volume, monkeypatch):
    monkeypatch.setenv("INCUS_REMOTE", "production")
    monkeypatch.setenv("INCUS_CONF", "/root/.config/incus")
    monkeypatch.setenv("TF_VAR_kept", "yes")
    with pytest.raises(RecoveryFailed) as told:
        ByCommand([*OPERATOR, "tell"], keep=["TF_VAR_kept"]).provide(room, SPEC, volume)
    seen = json.loads(told.value.message.split("status 1: ")[1])
    seen.pop("LC_CTYPE", None)  # Python's own
    assert seen.keys() - {"PATH", "HOME", "TMPDIR"} == {
        *("INCUS_SOCKET", "INCUS_CONF", "INCUS_PROJECT", "TF_VAR_kept"),
        *("ATLAS_DRILLS_PROJECT", "ATLAS_DRILLS_INSTANCE"),
        *("ATLAS_DRILLS_VOLUME", "ATLAS_DRILLS_POOL"),
    }
    assert seen["INCUS_CONF"] != "/root/.config/incus"
    assert seen["ATLAS_DRILLS_PROJECT"] == seen["INCUS_PROJECT"] == room.project
    assert not Path(seen["INCUS_SOCKET"]).exists()


def test_events_are_those_of_the_drill_project_whatever_is_asked(source, room, volume):
    with doorway(room) as door:
        stream = websocket.create_connection(
            f"ws://incus{EVENTS}?all-projects=true&type=logging",
            socket=connected(door.path),
            timeout=5,
            suppress_origin=True,
        )
        stream.ping("are you there")
        source.api.instances[NAME].patch(json={"description": "touched"})
        source.api.instances[NAME].patch(json={"description": ""})
        Volume(room, POOL, "noise").create({})
        heard = [json.loads(stream.recv())]
        while heard[-1].get("metadata", {}).get("action") != "storage-volume-created":
            heard.append(json.loads(stream.recv()))
        stream.close()
    assert {event["project"] for event in heard} == {room.project}
    assert {event["type"] for event in heard} <= {"operation", "lifecycle"}


def connected(path):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(5)
    made.connect(str(path))
    return made


def test_what_a_command_mounts_by_the_default_profile_goes_with_the_project(server):
    guarded = Incus(server.endpoint, DrillPolicy(RUN))
    project = DrillProject(guarded, RUN, f"drill-{RUN}")
    room = project.create(POOL)
    Volume(room, POOL, "mounted").create({})
    root = {"type": "disk", "path": "/", "pool": POOL}
    data = {"type": "disk", "path": "/x", "pool": POOL, "source": "mounted"}
    room.api.profiles["default"].put(json={"devices": {"root": root, "data": data}})
    project.delete()
    assert not server.exists(server.api.projects[f"drill-{RUN}"])
