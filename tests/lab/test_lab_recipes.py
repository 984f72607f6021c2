"""Mirrors, recipes, mount tables and the cache: what the lab reads, without an Incus."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.errors import LabError
from fixtures.lab import commands, host, recipes, settings
from fixtures.lab.cache import Cache, Progress
from fixtures.lab.rootfs import Mirrors, from_apt
from fixtures.lab.settings import HERE, IMAGES

DEB822 = """\
# enabled: no
Types: deb
URIs: https://vendor.example/apt
Suites: nodistro
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
# a comment inside
Signed-By: /usr/share/keyrings/some.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def apt(tmp_path: Path, files: dict[str, str]) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_mirror_is_read_from_deb822_sources(tmp_path: Path) -> None:
    where = apt(tmp_path, {"sources.list.d/debian.sources": DEB822})
    assert from_apt(where) == Mirrors(
        "http://mirror.example/debian", "http://mirror.example/debian-security"
    )


def test_mirror_is_read_from_one_line_sources_before_parts(tmp_path: Path) -> None:
    lines = (
        "# deb http://commented.example/debian trixie main\n"
        "deb http://ports.example/debian trixie contrib\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://line.example/debian trixie main contrib # here\n"
        "deb-src http://source.example/debian trixie main\n"
    )
    files = {"sources.list": lines, "sources.list.d/debian.sources": DEB822}
    where = apt(tmp_path, files)
    assert from_apt(where).main == "http://line.example/debian"


def test_switched_off_sources_are_not_read(tmp_path: Path) -> None:
    where = apt(
        tmp_path,
        {
            "sources.list.d/a.sources": DEB822.replace("Types:", "Enabled: no\nTypes:"),
            "sources.list.d/b.sources.off": DEB822,
        },
    )
    with pytest.raises(LabError) as caught:
        from_apt(where)
    assert str(caught.value) == (
        f"no Debian mirror (a Debian suite with component main) in {where}\n"
        "HINT: set ATLAS_DRILLS_DEBIAN_MIRROR to the address of a Debian mirror."
    )


def test_override_wins_and_keeps_the_security_mirror(tmp_path: Path) -> None:
    where = apt(tmp_path, {"sources.list.d/debian.sources": DEB822})
    assert from_apt(where, override="http://own.example/debian") == Mirrors(
        "http://own.example/debian", "http://mirror.example/debian-security"
    )


def test_sources_of_a_suite_name_backports_only_when_asked() -> None:
    mirrors = Mirrors("http://m.example/debian", "http://s.example/security")
    assert mirrors.sources("trixie", backports=True) == [
        "deb http://m.example/debian trixie main",
        "deb http://m.example/debian trixie-updates main",
        "deb http://m.example/debian trixie-backports main",
        "deb http://s.example/security trixie-security main",
    ]
    assert not any("backports" in line for line in mirrors.sources("trixie", backports=False))


@pytest.mark.parametrize(
    ("mounts", "where"),
    [
        (
            "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n"
            "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n",
            "/sys/fs/cgroup/unified",
        ),
        (
            "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n",
            "/sys/fs/cgroup",
        ),
        ("none /mnt/c\\040g cgroup2 rw 0 0\n", "/mnt/c g"),
    ],
    ids=["hybrid", "pure", "escaped"],
)
def test_cgroup2_is_found(mounts: str, where: str) -> None:
    assert host.cgroup2_root(mounts) == Path(where)


def test_host_without_cgroup2_is_refused() -> None:
    with pytest.raises(LabError, match="no cgroup2 file system is mounted"):
        host.cgroup2_root("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")


@pytest.mark.parametrize("path", sorted((HERE / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_is_well_formed(path: Path) -> None:
    assert recipes.load(path.stem).name == path.stem


def test_every_image_has_a_recipe() -> None:
    assert {recipes.load(name).data["kind"] for name in IMAGES} == {"instance"}


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    copied = tmp_path / "recipes"
    shutil.copytree(HERE / "recipes", copied)
    return copied


def test_key_changes_with_the_recipe_and_with_each_named_file(kitchen: Path) -> None:
    before = recipes.load("prometheus", kitchen).key
    (kitchen / "files/prometheus/prometheus.yml").write_text("# other\n")
    with_other_file = recipes.load("prometheus", kitchen).key
    toml = kitchen / "prometheus.toml"
    toml.write_text(toml.read_text().replace('"dbus", ', '"dbus", "less", '))
    assert len({before, with_other_file, recipes.load("prometheus", kitchen).key}) == 3


def test_key_of_a_recipe_does_not_change_with_another_recipe(kitchen: Path) -> None:
    before = recipes.load("mosquitto", kitchen).key
    (kitchen / "files/prometheus/prometheus.yml").write_text("# other\n")
    assert recipes.load("mosquitto", kitchen).key == before


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ('suite = "trixie"\n', "", "field `suite` is missing"),
        ('suite = "trixie"', 'suite = "trixie"\npackage = "x"', "field `package` is not known"),
        ('suite = "trixie"', "suite = 13", "field `suite` is not a str"),
        ('name = "prometheus"\nkind', 'name = "grafana"\nkind', "field `name` is 'grafana'"),
        ('kind = "instance"', 'kind = "vm"', "field `kind` is 'vm'"),
        ("gid = 1100\n", "", "users[1] lacks `gid`"),
        ("gid = 1100\n", 'gid = 1100\nshell = "x"\n', "users[1] has the unknown field `shell`"),
        ('path = "/prometheus"', 'path = "prometheus"', "which is not absolute"),
        ('owner = "1100:1100"', 'owner = "prometheus"', "directories[1] has the owner"),
        (
            'path = "/prometheus"',
            'path = "/prometheus"\nmode = "rwx"',
            "directories[1] has the mode",
        ),
        ('source = "prometheus/prometheus.yml"', 'source = "x.yml"', "which does not exist"),
        ('suite = "trixie"', "suite = ", "Invalid value"),
    ],
)
def test_wrong_recipes_are_refused(kitchen: Path, was: str, becomes: str, what: str) -> None:
    path = kitchen / "prometheus.toml"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes, 1))
    with pytest.raises(LabError) as caught:
        recipes.load("prometheus", kitchen)
    assert caught.value.message.startswith(f"recipe {path}: ")
    assert what in caught.value.message
    assert caught.value.hint == "correct the recipe; nothing was built."


def test_unknown_recipe_names_the_known_ones(kitchen: Path) -> None:
    with pytest.raises(LabError, match=r"HINT: known recipes: alertmanager, .*step-ca"):
        recipes.load("no-such-recipe", kitchen)


@pytest.mark.parametrize(
    ("key", "value"),
    [("ATLAS_DRILLS_LAB_INCUS", "5.0"), ("ATLAS_DRILLS_CACHE", "x"), ("ATLAS_DRILLS_STATE", "y")],
)
def test_wrong_switches_are_refused(key: str, value: str) -> None:
    with pytest.raises(LabError, match=f"^{key} is "):
        settings.from_environment({key: value})


def test_incus_6_is_a_switch() -> None:
    assert settings.from_environment({"ATLAS_DRILLS_LAB_INCUS": "6.0"}).rootfs_recipe == "incus-6.0"


def test_failed_command_shows_itself_its_status_and_its_last_lines() -> None:
    with pytest.raises(LabError) as caught:
        commands.run(["sh", "-c", "seq 30; exit 7"], doing="counting failed", hint="count again.")
    assert str(caught.value) == (
        "counting failed: `sh -c 'seq 30; exit 7'` ended with status 7; its last 20 lines:\n"
        + "".join(f"  {number}\n" for number in range(11, 31))
        + "HINT: count again."
    )


def test_missing_command_is_named() -> None:
    with pytest.raises(LabError, match=r"^packing failed: no-such-tool is not installed"):
        commands.run(["no-such-tool"], doing="packing failed", hint="install it.")


def test_missing_builders_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _tool: None)
    with pytest.raises(LabError) as caught:
        host.must_be_able_to_build(tmp_path)
    assert str(caught.value) == (
        "the lab needs mmdebstrap, zstd, which this host does not have\n"
        "HINT: apt-get install mmdebstrap zstd"
    )


def test_user_without_rights_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"^the lab needs root: "):
        host.must_be_able_to_run(tmp_path, tmp_path / "unix.socket")


def test_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1024**3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _where: full)
    with pytest.raises(LabError, match=r"^1\.0 GiB are free below .* the lab needs 6 GiB"):
        host.must_have_space(tmp_path / "not" / "yet")


def write_whole(work: Path) -> None:
    work.write_text("whole")


def test_artefact_is_made_once_and_its_seconds_are_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    cache = Cache(tmp_path, Progress(lines.append, total=2))
    artefact = cache.path("images", "x", "0123456789abcdef", ".tar")
    for _ in range(2):
        assert cache.made(artefact, "image x", write_whole) == artefact
    assert artefact.name == "x-0123456789ab.tar"
    assert lines[0] == "[ 1/2] image x: building"
    assert lines[2] == "[ 2/2] image x: in the cache"
    assert set(cache.timings()) == {"image x"}


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, Progress(lambda _line: None))
    artefact = cache.path("images", "x", "0123456789abcdef")

    def fail(work: Path) -> None:
        work.mkdir()
        raise LabError("no")

    with pytest.raises(LabError):
        cache.made(artefact, "image x", fail)
    assert list(artefact.parent.iterdir()) == []
    assert cache.timings() == {}


def test_builder_killed_midway_is_replaced(tmp_path: Path) -> None:
    """1. A process makes an artefact and is killed. 2. The next one makes it whole."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from fixtures.lab.cache import Cache, Progress\n"
        "def build(work): work.write_text('half'); time.sleep(60)\n"
        "cache = Cache(Path(sys.argv[1]), Progress(lambda line: None))\n"
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
    cache = Cache(tmp_path, Progress(lambda _line: None))
    made = cache.made(cache.path("k", "x", "a" * 64), "x", write_whole)
    assert made.read_text() == "whole"
    assert not half.exists()
