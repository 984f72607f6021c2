"""What is on a volume, by the headers of an export."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from fixtures.backups.listing import (
    Listing,
    differences,
    differences_of_unwritten,
    in_short,
    listing_of,
)
from fixtures.errors import BackupDamaged

SHIFT = [
    {"Isuid": True, "Isgid": False, "Hostid": 1000000, "Nsid": 0, "Maprange": 65536},
    {"Isuid": False, "Isgid": True, "Hostid": 1000000, "Nsid": 0, "Maprange": 65536},
]


def index(shift=SHIFT, optimized="false"):
    text = json.dumps(json.dumps(shift))
    return (
        f"optimized: {optimized}\nconfig:\n  volume:\n    config:\n"
        f"      volatile.idmap.last: {text}\n"
    ).encode()


def export(*entries, shift=SHIFT):
    """An export of Incus; entries as (path, type, mode, uid, content or link)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        text = index(shift)
        info = tarfile.TarInfo("backup/index.yaml")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
        for path, kind, mode, uid, more in entries:
            info = tarfile.TarInfo(f"backup/volume{path and '/'}{path}")
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, uid, 1000
            if kind == tarfile.REGTYPE:
                info.size = len(more)
                archive.addfile(info, io.BytesIO(more))
            else:
                info.linkname = more
                archive.addfile(info)
    return iter([made.getvalue()])


ROOT = ("", tarfile.DIRTYPE, 0o750, 1000100, "")
FILE = ("a", tarfile.REGTYPE, 0o640, 1000100, b"some")


def listed(*entries, **more):
    return listing_of(export(*entries, **more), "an export")


def test_owners_are_compared_as_they_are_inside_whatever_the_shift():
    unshifted = [(p, k, m, uid - 1000000, x) for p, k, m, uid, x in (ROOT, FILE)]
    assert differences(listed(ROOT, FILE), listed(*unshifted, shift=[])) == []
    assert listed(ROOT, FILE).owner(listed(ROOT, FILE).entries["."]) == ("100", "100")


def test_an_owner_outside_of_the_shift_is_nobody():
    root = ("", tarfile.DIRTYPE, 0o750, 100, "")
    (told,) = differences(listed(ROOT, FILE), listed(root, FILE))
    assert told.startswith(". is owned by 100 of the server (nobody inside):")


@pytest.mark.parametrize(
    "other, told",
    [
        (("a", tarfile.REGTYPE, 0o600, 1000100, b"some"), "a has mode 0600, had 0640"),
        (("a", tarfile.REGTYPE, 0o640, 1000000, b"some"), "a is owned by 0:0, was by 100:100"),
        (("a", tarfile.REGTYPE, 0o640, 1000100, b"so"), "a has 2 bytes, had 4"),
        (("a", tarfile.FIFOTYPE, 0o640, 1000100, ""), "a is a named pipe, was a file"),
        (("a", tarfile.SYMTYPE, 0o640, 1000100, "b"), "a is a symbolic link to b, was a file"),
    ],
)
def test_each_difference_is_told(other, told):
    assert differences(listed(ROOT, FILE), listed(ROOT, other)) == [told]


def test_what_is_missing_or_added_is_told_with_any_name():
    odd = ("new\nline\udcff", tarfile.REGTYPE, 0o640, 1000100, b"")
    assert differences(listed(ROOT, FILE), listed(ROOT, odd)) == [
        "a is missing",
        r"new\nline\udcff is there, and not in the backup",
    ]


def test_hard_links_and_snapshots_in_the_same_export():
    link = ("b", tarfile.LNKTYPE, 0o640, 1000100, "backup/volume/a")
    assert listed(ROOT, FILE, link).entries["b"].kind == "hard link to a"
    beside = ("-snapshots/s/a", tarfile.REGTYPE, 0o640, 1000100, b"")
    archive = export(ROOT, FILE)
    assert "-snapshots" not in listing_of(archive, "x").entries
    listing = Listing()
    info = tarfile.TarInfo(f"backup/volume{beside[0]}")
    listing.add(None, info)
    assert listing.entries == {}


def test_of_what_the_service_has_written_since_nothing_is_said():
    was, now = listed(ROOT, FILE), listed(ROOT, FILE)
    entry = now.entries["a"]
    now.entries["a"] = entry._replace(uid=1000000, mtime=entry.mtime + 60)
    now.entries["made by the service"] = entry
    assert differences_of_unwritten(was, now) == []
    now.entries["a"] = entry._replace(uid=1000000, size=9)
    assert differences_of_unwritten(was, now) == ["a is owned by 0:100, was by 100:100"]


def test_an_index_that_tells_no_owners_is_damage():
    with pytest.raises(BackupDamaged, match="an export: its index does not tell owners"):
        Listing().read_index(b"config: 3", "an export")
    with pytest.raises(BackupDamaged, match="its index does not tell owners"):
        Listing().read_index(None, "an export")


def test_the_first_ten_are_named():
    faults = [f"f{n} is missing" for n in range(13)]
    assert in_short(faults).endswith("f9 is missing; and 3 more")
    assert in_short(faults[:2]) == "f0 is missing; f1 is missing"
