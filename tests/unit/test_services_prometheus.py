"""TSDB snapshots of Prometheus: found, read to their end, unpacked; and its blocks in a note."""

import subprocess
import tarfile

import pytest

from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.recovery.checks import Checks, check_facts
from fixtures.recovery.drill import Drill
from fixtures.recovery.existing import BackupFiles
from fixtures.services import prometheus
from fixtures.services.prometheus import FLATTEN, Prometheus, must_be_whole
from tests.imitations.instance import spec_of

ULIDS = [f"{name:0<26}" for name in ("01ABC", "01DEF")]
PARTS = {"meta.json": b"{}", "index": b"i" * 700, "chunks/000001": b"c" * 1500}


def test_all_samples_of_a_generation_fit_into_a_block():
    interval, count = prometheus.HISTORY
    assert 300 + interval * count < prometheus.BLOCK_SECONDS


@pytest.fixture
def root(tmp_path):
    """A TSDB snapshot as it lies on the volume."""
    root = tmp_path / "20261128T020000Z-78c1a2b3"
    for ulid in ULIDS:
        for name, content in PARTS.items():
            (root / ulid / name).parent.mkdir(parents=True, exist_ok=True)
            (root / ulid / name).write_bytes(content)
    return root


def pack(root, mode="w", top="."):
    export = root.with_suffix(".tar")
    with tarfile.open(export, mode, format=tarfile.GNU_FORMAT) as archive:
        archive.add(root, top)
    return export


@pytest.mark.parametrize("form", [lambda root: root, pack])
@pytest.mark.parametrize("part", ["meta.json", "index", "chunks"])
def test_a_block_without_one_of_its_parts_is_damaged(root, part, form):
    (root / ULIDS[1] / part).rename(root / part)
    with pytest.raises(BackupDamaged, match=f"{ULIDS[1]} lacks {part}"):
        Prometheus.inspect_native(form(root))


@pytest.mark.parametrize("form", [lambda root: root, pack])
def test_what_is_no_snapshot_is_none(root, tmp_path, form):
    (root / ULIDS[0] / "meta.json").write_bytes(b"{")
    with pytest.raises(BackupDamaged, match="meta.json of 01ABC|no readable TSDB snapshot"):
        Prometheus.inspect_native(form(root))
    (root / ULIDS[0] / "meta.json").write_bytes(b"{}")
    (root / "wal").mkdir()
    with pytest.raises(CouldNotLook, match="a copy of a data directory"):
        Prometheus.inspect_native(form(root))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupDamaged, match="holds no block"):
        Prometheus.inspect_native(form(tmp_path / "empty"))


def test_a_snapshot_is_found_by_its_blocks(root, tmp_path):
    assert [block.name for block in prometheus.blocks_in(root)] == ULIDS
    found = Prometheus.find_native(tmp_path, [path for path in root.rglob("*") if path.is_file()])
    assert list(found) == [root]


def test_a_cut_is_seen_at_each_block_of_the_archive(root):
    """Also between two blocks of the database, where nothing of what is left is missing."""
    export = pack(root)
    whole = export.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for length in range(0, end + 1024, 256):
        export.write_bytes(whole[:length])
        with pytest.raises(BackupDamaged):
            must_be_whole(export)
    export.write_bytes(whole[: end + 1024])
    assert must_be_whole(export) == ULIDS


def test_a_header_that_is_overwritten_is_seen(root):
    export = pack(root)
    whole = bytearray(export.read_bytes())
    # The first header of the second block: what follows it would be taken for the end.
    at = whole.index(f"./{ULIDS[1]}".encode())
    whole[at : at + 512] = b"\xff" * 512
    export.write_bytes(whole)
    with pytest.raises(BackupDamaged, match="before the end mark"):
        must_be_whole(export)


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_a_snapshot_may_be_compressed_and_packed_with_its_directory(root, compression):
    export = pack(root, f"w:{compression}", root.name)
    assert must_be_whole(export) == ULIDS
    whole = export.read_bytes()
    for length in (len(whole) // 3, len(whole) - 40, len(whole) - 1):
        export.write_bytes(whole[:length])
        with pytest.raises(BackupDamaged):
            must_be_whole(export)


@pytest.mark.parametrize("top", [".", "snapshot", "./snapshot"])
def test_blocks_are_unpacked_without_what_is_in_front_of_them(root, tmp_path, top):
    (there := tmp_path / "there").mkdir()
    export = pack(root, top=top)
    subprocess.run(["tar", "-C", there, f"--transform={FLATTEN}", "-xf", export], check=True)
    assert {path.name for path in there.iterdir() if any(path.iterdir())} == set(ULIDS)
    assert (there / ULIDS[1] / "chunks/000001").read_bytes() == PARTS["chunks/000001"]


def test_a_snapshot_in_zstd_is_not_read_and_not_called_damaged(tmp_path):
    (tmp_path / "tsdb.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(2000))
    with pytest.raises(CouldNotLook, match="compressed with zstd"):
        must_be_whole(tmp_path / "tsdb.tar.zst")


def test_blocks_further_down_are_named_and_not_passed_over(root):
    (found,) = BackupFiles(places=(root.parent,), services=(spec_of("prometheus"),)).files
    assert found.path == root
    export = pack(root, top=f"var/lib/prometheus/snapshots/{root.name}")
    seen = BackupFiles(places=(root.parent,), services=(spec_of("prometheus"),))
    assert export in [file.path for file in seen.files_of(spec_of("prometheus"), "native")]
    with pytest.raises(CouldNotLook, match="its blocks further down: var/lib/") as told:
        must_be_whole(export)
    assert "tar -C SNAPSHOT -cf FILE ." in told.value.hint


def test_a_block_that_a_note_has_and_the_copy_has_not_is_missed(monkeypatch):
    subject = Prometheus(spec_of("prometheus"), None)
    noted = {"block A": "held", "block B": "held", "owner and mode of /prometheus": "0:0 755"}
    monkeypatch.setattr(subject, "read_facts", lambda: {"block A": "held", "block C": "held"})
    checks = Checks(Drill("prometheus", "native", 900, "drill-x", "low"))
    check_facts(checks, subject, subject.facts_in_native(noted), is_note=True)
    assert checks.broken == ["block B: is (absent), was held"]
