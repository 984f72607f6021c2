"""A Prometheus export that was cut is damaged, wherever it was cut."""

from __future__ import annotations

import io
import tarfile

import pytest

from fixtures.errors import BackupDamaged
from fixtures.services.prometheus import must_be_whole

ULIDS = ("01ABC", "01DEF")
PARTS = {"meta.json": b"{}", "index": b"i" * 700, "chunks/000001": b"c" * 1500}


def written(directory, without=None):
    made = directory / "prometheus.tar"
    with tarfile.open(made, "w") as archive:
        for ulid in ULIDS:
            for name, content in PARTS.items():
                entry = tarfile.TarInfo(f"./{ulid}/{name}")
                entry.size = len(content)
                if name != without:
                    archive.addfile(entry, io.BytesIO(content))
    return made


@pytest.fixture
def export(tmp_path):
    return written(tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_a_block_without_one_of_its_parts_is_damaged(tmp_path, part):
    with pytest.raises(BackupDamaged, match=f"lacks {part.partition('/')[0]}"):
        must_be_whole(written(tmp_path, without=part))


def test_a_whole_one_tells_its_blocks(export):
    assert must_be_whole(export) == list(ULIDS)


def test_a_cut_is_seen_at_each_block_of_the_archive(export):
    """Also between two blocks of the database, where nothing of what is left is missing."""
    with tarfile.open(export) as archive:
        list(archive)
        end = archive.offset
    whole = export.read_bytes()
    for length in range(0, end + 1024, 256):
        export.write_bytes(whole[:length])
        with pytest.raises(BackupDamaged):
            must_be_whole(export)
    export.write_bytes(whole[: end + 1024])
    assert must_be_whole(export) == list(ULIDS)


def test_a_header_that_is_overwritten_is_seen(export):
    whole = bytearray(export.read_bytes())
    # The first header of the second block: what follows it would be taken for the end.
    at = whole.index(f"./{ULIDS[1]}".encode())
    whole[at : at + 512] = b"\xff" * 512
    export.write_bytes(whole)
    with pytest.raises(BackupDamaged, match="before the end mark"):
        must_be_whole(export)
