"""How instances are made, against a real Incus with a source that must not change."""

import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook, IncusError, RecoveryFailed, UsageError
from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy, OwnServerPolicy
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import inventory
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume
from fixtures.lab.lab import Lab
from fixtures.lab.settings import BUCKET_POOL
from fixtures.recovery import provision
from fixtures.recovery.provision import (
    ByCommand,
    FromImage,
    FromSource,
    making_instance,
    must_be_copyable,
    provisioner_of,
)
from fixtures.secrets import Secret

ROOT = Path(__file__).parents[2]
POOL, SOURCE, RUN = "local", "plays-production", "20260101-000000-provis"
FLEET = load_fleet(ROOT / "fleets" / "atlas.yaml")
SPEC = FLEET.service("mosquitto")
NAME, PATH = SPEC.instance, SPEC.volumes[0].path
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
def lab(drill_project):
    lab = Lab()
    assert str(lab.socket) == drill_project.endpoint
    return lab


@pytest.fixture(scope="module")
def server(lab):
    return Incus(str(lab.socket), OwnServerPolicy(str(lab.socket)))


@pytest.fixture(scope="module")
def source(server):
    """A running instance with a profile and devices of its own, in a project of its own."""
    features = {f"features.{f}": "true" for f in ("profiles", "storage.volumes", "storage.buckets")}
    config = {**features, "features.images": "false"}
    server.post("projects", body={"name": SOURCE, "config": config})
    view = server.for_project(SOURCE)
    Volume(view, POOL, "production").create({"size": "50MiB"})
    view.post("profiles", body={"name": "svc", **PROFILE})
    Instance(view, NAME).create("mosquitto", DEVICES, CONFIG, profiles=("svc",))
    Instance(view, NAME).start()
    Instance(view, NAME).push("/root/of-production", b"yes")
    view.post("instances", NAME, "snapshots", body={"name": "yesterday"})
    yield view
    server.delete("projects", SOURCE, force="true")


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
    return Instance(room, name).read()


def names(room):
    return [instance["name"] for instance in room.get_list("instances")]


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


def test_an_instance_is_removed_while_it_starts(room, volume):
    """As after Ctrl-C: Incus goes on to start it, and kills nothing until it has."""
    instance = Instance(room, NAME)
    for _ in range(5):
        FromImage().provide(room, SPEC, volume)
        with pytest.raises(IncusError, match="still Running"):
            room.put("instances", NAME, "state", body={"action": "start"}, timeout=0)
        instance.remove()
        assert not instance.exists()


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
    assert room.get_list("instances", NAME, "snapshots") == []
    assert {"device eth0 (nic)", "device eth1 (nic)", "device mqtt (proxy)"} < set(left)
    assert "config cloud-init.user-data" in left
    instance = must_run_on(room, volume)
    assert instance.pull("/root/of-production") == b"yes"
    assert instance.exec(["ls", "/acted", "/dev/other"]).stdout == ""


@contextmanager
def watched(instance):
    """What states an instance is seen in while the block lasts."""
    states, over = set(), threading.Event()

    def watch():
        while not over.is_set():
            states.add(instance.status())

    watcher = threading.Thread(target=watch)
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
    within = server.for_project(room.project)
    order = {"type": "copy", "source": plain.name, "project": SOURCE, "instance_only": True}
    with watched(Instance(server.for_project(SOURCE), plain.name)) as states:
        within.post("instances", body={"name": "frozen", "source": order})
    # Freezing, Frozen, or both, as far as it was seen.
    assert states > {"Running"}, "what Incus does by default"
    with watched(Instance(server.for_project(SOURCE), plain.name)) as states:
        FromSource(SOURCE).provide(room, spec, volume)
    assert states == {"Running"}
    plain.kill()
    plain.delete()


@pytest.mark.parametrize("provisioner", [FromImage(), FromSource(SOURCE)], ids=["image", "source"])
def test_an_instance_made_before_its_volume_is_the_same(unchanged, room, volume, provisioner):
    def settled(made):
        volatile = {key for key in made["config"] if key.startswith("volatile.")}
        config = {key: made["config"][key] for key in made["config"].keys() - volatile}
        return (working(made), config, made["profiles"], made["status"])

    lacks = provisioner.provide(room, SPEC, volume)
    wanted = settled(seen(room))
    instance = Instance(room, NAME)
    instance.remove()
    volume.delete()
    with making_instance(provisioner, instance, SPEC, volume) as found:
        volume.create({"size": "50MiB"})
    assert settled(seen(room)) == wanted
    assert found == lacks
    assert seen(room)["status"] == "Stopped"
    must_run_on(room, volume)


def test_a_restore_that_fails_comes_before_an_instance_that_fails(room, volume):
    for error, raised in (
        (RecoveryFailed, RecoveryFailed("the restore failed")),
        (CouldNotLook, None),
    ):
        why = "the restore failed" if raised else "there is nothing to copy"
        making = making_instance(FromSource("none"), Instance(room, NAME), SPEC, volume)
        with pytest.raises(error, match=why), making:
            if raised:
                raise raised
    assert names(room) == []


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
        with pytest.raises(CouldNotLook) as refused:
            FromSource(SOURCE).provide(room, SPEC.model_copy(update={"instance": name}), volume)
    finally:
        odd.delete()
    assert f"instance {name} of project {SOURCE} cannot be copied" in refused.value.message
    assert why in refused.value.message
    assert names(room) == []


def test_a_copy_without_an_original_or_of_a_machine_is_refused(unchanged, room, volume):
    with pytest.raises(CouldNotLook, match="there is nothing to copy: read instance none"):
        FromSource(SOURCE).provide(room, SPEC.model_copy(update={"instance": "none"}), volume)
    with pytest.raises(CouldNotLook, match="a virtual-machine, and drills are made of containers"):
        must_be_copyable({"type": "virtual-machine", "expanded_config": {}}, "instance vm")


def test_a_copy_that_is_not_closed_is_removed(unchanged, room, volume, monkeypatch):
    monkeypatch.setattr(
        provision, "_config_of_copy", lambda source: {"security.protection.delete": ""}
    )
    with pytest.raises(CouldNotLook, match="settings .*'cloud-init.user-data'.*'user.note'"):
        FromSource(SOURCE).provide(room, SPEC, volume)
    assert names(room) == []


MAKE = f"""
set -eu
data="pool=$ATLAS_DRILLS_POOL source=$ATLAS_DRILLS_VOLUME path={PATH}"
incus create mosquitto "$ATLAS_DRILLS_INSTANCE"
incus config device add "$ATLAS_DRILLS_INSTANCE" data disk $data
"""
BY_PROFILE = f"""
set -eu
incus profile create svc
incus profile device add svc data disk pool=$ATLAS_DRILLS_POOL source=$ATLAS_DRILLS_VOLUME \\
    path={PATH}
incus launch mosquitto $ATLAS_DRILLS_INSTANCE --profile default --profile svc
"""


def by_command(lab, script, **options):
    return ByCommand(["sh", "-c", script], lab.command, **options)


@pytest.mark.parametrize("script", [MAKE, BY_PROFILE], ids=["stopped", "running, by a profile"])
def test_a_command_makes_the_instance(unchanged, lab, room, volume, script):
    instance = Instance(room, NAME)
    with making_instance(by_command(lab, script), instance, SPEC, volume) as lacks:
        assert names(room) == []
    assert lacks == []
    assert seen(room)["status"] == "Stopped"
    must_run_on(room, volume)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (MAKE.replace(PATH, "/srv"), f"ended well, but instance {NAME} has nothing mounted at"),
        (
            f"incus storage volume create {POOL} other\n"
            + MAKE.replace("$ATLAS_DRILLS_VOLUME", "other"),
            f"'other')] mounted at {PATH} instead of volume",
        ),
        (
            "for act in delete create; do incus storage volume $act $ATLAS_DRILLS_POOL "
            f"$ATLAS_DRILLS_VOLUME; done\n{MAKE}",
            "ended well, but has replaced volume mosquitto01-data on pool",
        ),
        ("echo nothing", f"instance {NAME} is not in project drill-"),
        ("echo the token is $TOKEN; exit 1", "ended with status 1: the token is [redacted]"),
        ("exec ./no-tofu", "ended with status 127"),
    ],
    ids=["elsewhere", "another volume", "replaced", "nothing", "failed", "no program"],
)
def test_a_command_that_does_not_make_it_fails(
    unchanged, lab, room, volume, monkeypatch, script, why
):
    monkeypatch.setenv("TOKEN", Secret("hunter2 of the operator").reveal())
    with pytest.raises(RecoveryFailed) as failed:
        by_command(lab, script, keep=["TOKEN"]).provide(room, SPEC, volume)
    assert why in failed.value.message
    assert "nsenter" not in failed.value.message


def test_a_command_sees_the_lab_and_nothing_else(lab, room, volume, monkeypatch, tmp_path):
    """No other Incus, no network, no file of this machine but its own, no variable of ours."""
    monkeypatch.setenv("INCUS_REMOTE", "production")
    monkeypatch.setenv("TF_VAR_kept", "it's so")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "main.tf").write_text("lent")
    (tmp_path / "show").write_text(
        f"cat {tmp_path}/show; env | sort | tail -8; echo route[$(ip route show default)]\n"
        "cat modules/main.tf; echo new >modules/main.tf; exit 1"
    )
    ours = ByCommand(["sh", "./show"], lab.command, directory=tmp_path, keep=["TF_VAR_kept"])
    with pytest.raises(RecoveryFailed, match="command 'sh ./show' ended with status 1") as failed:
        ours.provide(room, SPEC, volume)
    printed = failed.value.message
    assert "route[]\nlent\n" in printed
    assert printed.endswith(f"{tmp_path}/show: No such file or directory")
    names = [line.partition("=")[0] for line in printed.splitlines() if "=" in line]
    expected = {"PATH", "HOME", "PWD", "TF_VAR_kept", "INCUS_SOCKET", "INCUS_CONF", "INCUS_PROJECT"}
    made = {f"ATLAS_DRILLS_{name}" for name in ("PROJECT", "INSTANCE", "VOLUME", "POOL")}
    assert {name.rpartition(" ")[2] for name in names} <= expected | made | {"OLDPWD", "SHLVL"}
    assert "TF_VAR_kept=it's so" in printed
    assert (tmp_path / "modules" / "main.tf").read_text() == "lent"
    listed = subprocess.check_output(lab.command(["ls", "/tmp"]), text=True)
    assert "atlas-command" not in listed


def test_a_command_that_hangs_is_ended_with_its_children(unchanged, lab, room, volume):
    script = "trap '' TERM; sleep 654 & echo waiting; wait"
    begun = time.monotonic()
    with pytest.raises(RecoveryFailed, match=r"did not end within 1 s: waiting"):
        by_command(lab, script, timeout=1).provide(room, SPEC, volume)
    assert time.monotonic() - begun < 20
    search = lab.command(["sh", "-c", "grep -lz 654 /proc/[0-9]*/cmdline"])
    deadline = time.monotonic() + 5
    while (left := subprocess.run(search, capture_output=True, text=True).stdout.split()[1:]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert left == []


def test_a_command_without_a_lab_a_variable_or_a_directory_is_a_usage_error(lab, room, volume):
    with pytest.raises(UsageError, match="TF_VAR_none is not in the environment, and tofu needs"):
        ByCommand(["tofu"], lab.command, keep=["TF_VAR_none"]).provide(room, SPEC, volume)
    spec = SPEC.model_copy(update={"provision": "command"})
    with pytest.raises(UsageError, match="`apply` command runs in the lab only.*nothing was made"):
        provisioner_of(spec, FLEET, SOURCE, ROOT / "fleets")
    with pytest.raises(UsageError, match="of the fleet's `apply` command is not there"):
        provisioner_of(spec, FLEET, SOURCE, ROOT / "none", lab.command)


def test_what_the_default_profile_mounts_goes_with_the_project(server):
    guarded = Incus(server.endpoint, DrillPolicy(RUN))
    project = DrillProject(guarded, RUN, f"drill-{RUN}")
    room = project.create(POOL)
    Volume(room, POOL, "mounted").create({})
    root = {"type": "disk", "path": "/", "pool": POOL}
    data = {"type": "disk", "path": "/x", "pool": POOL, "source": "mounted"}
    room.put("profiles", "default", body={"devices": {"root": root, "data": data}})
    project.delete()
    assert not project.exists()
