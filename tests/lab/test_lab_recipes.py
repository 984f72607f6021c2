"""Mirrors, recipes, settings, the host and the cache: what the lab reads, without an Incus."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook, LabError
from fixtures.lab import host, images, settings
from fixtures.lab.cache import Cache, read_json
from fixtures.lab.images import Mirrors, from_apt
from fixtures.lab.settings import RECIPES

DEB822 = """\
Types: deb
URIs: https://vendor.example/apt
Suites: nodistro
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
LINES = """\
# deb http://commented.example/debian trixie main
deb http://ports.example/debian trixie contrib
deb [arch=amd64 signed-by=/k.gpg] http://line.example/debian trixie main contrib # here
deb-src http://source.example/debian trixie main
"""


@pytest.mark.parametrize(
    ("files", "main", "security"),
    [
        (
            {"sources.list.d/debian.sources": DEB822},
            "mirror",
            "http://mirror.example/debian-security",
        ),
        ({"sources.list": LINES}, "line", None),
        (
            {"sources.list": LINES, "sources.list.d/x.sources": DEB822},
            "line",
            "http://mirror.example/debian-security",
        ),
    ],
    ids=["deb822", "lines", "both"],
)
def test_mirrors_are_those_of_the_machines_apt(tmp_path, files, main, security):
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert from_apt(tmp_path) == Mirrors(f"http://{main}.example/debian", security)
    own = from_apt(tmp_path, override="http://own.example/debian")
    assert own == Mirrors("http://own.example/debian", security)


def test_a_machine_without_a_debian_mirror_is_refused(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    off = DEB822.replace("Types:", "Enabled: no\nTypes:")
    (tmp_path / "sources.list.d/a.sources").write_text(off)
    with pytest.raises(LabError) as caught:
        from_apt(tmp_path)
    assert str(caught.value) == (
        f"no Debian mirror (a Debian suite with component main) in {tmp_path}\n"
        "HINT: set ATLAS_DRILLS_DEBIAN_MIRROR to the address of a Debian mirror."
    )


def test_sources_of_a_suite_have_backports_only_where_a_recipe_wants_them():
    mirrors = Mirrors("http://m.example/debian", "http://s.example/security")
    assert mirrors.sources("trixie", backports=True) == [
        "deb http://m.example/debian trixie main",
        "deb http://m.example/debian trixie-updates main",
        "deb http://m.example/debian trixie-backports main",
        "deb http://s.example/security trixie-security main",
    ]
    assert not any("backports" in line for line in mirrors.sources("trixie", backports=False))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_is_well_formed(path):
    assert settings.load_recipe(path.stem).name == path.stem


@pytest.fixture
def kitchen(tmp_path):
    copied = tmp_path / "recipes"
    shutil.copytree(RECIPES, copied)
    return copied


def test_the_key_is_of_the_recipe_and_of_each_file_that_it_names(kitchen):
    def key(name="prometheus"):
        return settings.load_recipe(name, [kitchen]).key

    keys, other = {key()}, key("mosquitto")
    (kitchen / "files/prometheus/prometheus.yml").write_text("# other\n")
    keys.add(key())
    toml = kitchen / "prometheus.toml"
    toml.write_text(toml.read_text().replace('"dbus", ', '"dbus", "less", '))
    assert len({*keys, key()}) == 3
    assert key("mosquitto") == other


def test_recipes_of_a_test_come_in_front_of_the_labs_own(kitchen, tmp_path):
    further = settings.from_environment({"ATLAS_DRILLS_RECIPES": f"{tmp_path}/none:{kitchen}"})
    (kitchen / "files/loki/loki.service").write_text("# other\n")
    found = settings.load_recipe("loki", further.recipes)
    assert found.file("loki/loki.service") == kitchen / "files/loki/loki.service"
    assert found.key != settings.load_recipe("loki").key
    with pytest.raises(LabError, match=r"HINT: known recipes: alertmanager, .*step-ca"):
        settings.load_recipe("no-such-recipe", further.recipes)


@pytest.mark.parametrize(
    ("name", "was", "becomes", "what"),
    [
        ("prometheus", 'suite = "trixie"\n', "", "`suite`: Field required"),
        ("prometheus", 'suite = "trixie"', 'package = "x"\nsuite = ""', "`package`: Extra inputs"),
        ("prometheus", 'suite = "trixie"', "suite = 13", "`suite`: Input should be a valid string"),
        ("prometheus", 'name = "prometheus"\nkind', 'name = "x"\nkind', "`name` is 'x', not"),
        ("prometheus", 'kind = "instance"', 'kind = "vm"', "`kind`: Input should be 'instance'"),
        ("prometheus", "gid = 1100\n", "", "`users.0.gid`: Field required"),
        ("prometheus", 'path = "/prometheus"', 'path = "x"', "`directories.0.path`: "),
        ("prometheus", 'owner = "1100:1100"', 'owner = "x"', "`directories.0.owner`: "),
        ("prometheus", '"prometheus/prometheus.yml"', '"x.yml"', "which does not exist"),
        ("prometheus", 'suite = "trixie"', "suite = ", "Invalid value"),
        ("grafana", "B53AE77BADB6", "B53A", "`repositories.0.fingerprint`: "),
        ("atlantis", 'checksums = "https', 'checksums = "http', "`archives.0.checksums`: "),
        ("atlantis", 'member = "atlantis"', f'member = "x"\nsha256 = "{64 * "0"}"', "not both"),
    ],
)
def test_wrong_recipes_are_refused(kitchen, name, was, becomes, what):
    path = kitchen / f"{name}.toml"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes, 1))
    with pytest.raises(LabError) as caught:
        settings.load_recipe(name, [kitchen])
    assert caught.value.message.startswith(f"recipe {path}: ")
    assert what in caught.value.message
    assert caught.value.hint == "correct the recipe; nothing was built."


def test_switches():
    assert settings.from_environment({"ATLAS_DRILLS_LAB_INCUS": "6.0"}).rootfs_recipe == "incus-6.0"
    for key, value in (
        *(("ATLAS_DRILLS_LAB_INCUS", "5.0"), ("ATLAS_DRILLS_CACHE", "x")),
        ("ATLAS_DRILLS_STATE", "y"),
    ):
        with pytest.raises(LabError, match=f"^{key} is "):
            settings.from_environment({key: value})


@pytest.mark.parametrize(
    ("mounts", "where"),
    [
        (
            "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n",
            "/sys/fs/cgroup/unified",
        ),
        ("none /mnt/c\\040g cgroup2 rw 0 0\n", "/mnt/c g"),
    ],
)
def test_cgroup2_is_found_or_the_host_is_refused(mounts, where):
    assert host.cgroup2_root(mounts) == Path(where)
    with pytest.raises(LabError, match="no cgroup2 file system is mounted"):
        host.cgroup2_root("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")


def test_what_a_host_lacks_is_named(monkeypatch, tmp_path):
    full = shutil.disk_usage(tmp_path)._replace(free=1024**3)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda _tool: None)
        with pytest.raises(LabError) as caught:
            host.must_be_able_to_build(tmp_path)
    assert str(caught.value) == (
        "the lab needs mmdebstrap, zstd, which this host does not have\n"
        "HINT: apt-get install mmdebstrap zstd"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _where: full)
    with pytest.raises(LabError, match=r"^1\.0 GiB are free below .* the lab needs 6 GiB"):
        host.must_have_space(tmp_path / "not" / "yet")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"^the lab needs root: "):
        host.must_be_able_to_run(tmp_path, tmp_path / "unix.socket")


def test_a_failed_command_is_shown_with_its_last_lines():
    with pytest.raises(LabError) as caught:
        host.run(["sh", "-c", "seq 30; exit 7"], doing="counting failed", hint="count again.")
    assert str(caught.value) == (
        "counting failed: `sh -c 'seq 30; exit 7'` ended with status 7; its last 20 lines:\n"
        + "".join(f"  {number}\n" for number in range(11, 31))
        + "HINT: count again."
    )
    with pytest.raises(LabError, match=r"^packing failed: no-such-tool is not installed"):
        host.run(["no-such-tool"], doing="packing failed", hint="install it.")


@pytest.fixture
def limits(tmp_path):
    made = {tmp_path / "instances": 16384, tmp_path / "keys": 2000, tmp_path / "none" / "x": 1}
    for limit in list(made)[:2]:
        limit.write_text("128\n")
    return made


def test_the_last_lab_restores_the_limits_that_the_first_one_found(limits, tmp_path):
    instances, keys, _ = limits
    for _ in range(2):
        host.raise_limits(limits, tmp_path)
    assert (int(instances.read_text()), int(keys.read_text())) == (16384, 2000)
    host.restore_limits(lambda: True, limits, tmp_path)
    assert int(instances.read_text()) == 16384
    # An administrator has set it since.
    keys.write_text("4096")
    host.restore_limits(lambda: False, limits, tmp_path)
    assert (int(instances.read_text()), int(keys.read_text())) == (128, 4096)
    host.raise_limits({keys: 2000}, tmp_path)
    host.restore_limits(lambda: False, limits, tmp_path)
    assert int(keys.read_text()) == 4096


def test_a_cgroup_that_was_left_behind_is_no_lab(tmp_path):
    for name, events in (("left", "populated 0\n"), ("lab", "populated 1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.events").write_text(f"{events}frozen 0\n")
    found = [host.is_inhabited(tmp_path / name) for name in ("left", "lab", "gone")]
    assert found == [False, True, False]


def write_complete(work):
    work.write_text("complete")


def test_an_artefact_is_made_once_and_its_seconds_are_kept(tmp_path):
    lines = []
    cache = Cache(tmp_path, lines.append)
    artefact = cache.path("images", "x", "0123456789abcdef", ".tar")
    for _ in range(2):
        assert cache.made(artefact, "image x", write_complete) == artefact
    assert artefact.name == "x-0123456789ab.tar"
    assert (lines[0], lines[2]) == ("image x: building", "image x: in the cache")
    assert set(read_json(tmp_path / "timings.json")) == {"image x"}


def test_a_build_that_fails_leaves_nothing(tmp_path):
    cache = Cache(tmp_path)
    artefact = cache.path("images", "x", "0123456789abcdef")

    def fail(work):
        work.mkdir()
        raise LabError("no")

    with pytest.raises(LabError):
        cache.made(artefact, "image x", fail)
    assert list(artefact.parent.iterdir()) == []
    assert not (tmp_path / "timings.json").exists()


def test_a_builder_that_was_killed_is_replaced(tmp_path):
    """1. A process makes an artefact and is killed. 2. The next one makes it."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from fixtures.lab.cache import Cache\n"
        "def build(work): work.write_text('half'); time.sleep(60)\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "cache.made(cache.path('k', 'x', 'a' * 64), 'x', build)\n"
    )
    half = tmp_path / "k" / (".making-x-" + "a" * 12)
    repo = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=repo) as builder:
        deadline = time.monotonic() + 30
        while not half.exists():
            assert time.monotonic() < deadline, "the builder never began"
            time.sleep(0.01)
        builder.send_signal(signal.SIGKILL)
    cache = Cache(tmp_path)
    made = cache.made(cache.path("k", "x", "a" * 64), "x", write_complete)
    assert made.read_text() == "complete"
    assert not half.exists()


def test_what_fails_to_build_stops_nothing_else(tmp_path, monkeypatch):
    lines = []
    cache, config = Cache(tmp_path, lines.append), settings.from_environment({})
    images.plan(cache, config).rootfs.mkdir(parents=True)
    monkeypatch.setattr(images, "REPORT_SECONDS", 0.2)

    def build(made_from, *_):
        name = "false" if made_from.name == "mosquitto" else "sleep"
        host.run([name, "0.5"], doing="not built", hint="do so.")
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache")
        raise full if made_from.name == "alertmanager" else CouldNotLook("late")

    monkeypatch.setattr(images, "make_root", build)
    built = images.build(cache, config, ["mosquitto", "alertmanager", "prometheus"])
    assert {name: fault.message.split(":")[0] for name, fault in built.faults.items()} == {
        "mosquitto": "not built",
        "alertmanager": "/cache",
        "prometheus": "late",
    }
    assert any(re.search("still to come: .*prometheus", line) for line in lines)
