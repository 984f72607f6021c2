"""What is on a volume, byte for byte, by its export."""

import hashlib
import io
import json
import struct
import subprocess
import tarfile

import pytest

from fixtures.backups.tarball import (
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
        f"name: v\npool: local\noptimized: {optimized}\nconfig:\n  volume:\n    config:\n"
        f"      volatile.idmap.last: {text}\n"
    ).encode()


def export(*entries, shift=SHIFT):
    """An export of Incus; entries as (path, type, mode, uid, content or link, further fields)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        text = index(shift)
        info = tarfile.TarInfo("backup/index.yaml")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
        for path, kind, mode, uid, more, *fields in entries:
            between = "/" if path and not path.startswith("-") else ""
            info = tarfile.TarInfo(f"backup/volume{between}{path}")
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, uid, 1000
            for field in fields:
                vars_of(info, **field)
            if kind == tarfile.REGTYPE:
                info.size = len(more)
                archive.addfile(info, io.BytesIO(more))
            else:
                info.linkname = more
                archive.addfile(info)
    return iter([made.getvalue()])


def vars_of(info, *, mtime=1000, **attributes):
    info.mtime = mtime
    info.pax_headers = {f"SCHILY.xattr.{k.replace('_', '.', 1)}": v for k, v in attributes.items()}


def unended(*entries):
    """An export without its end mark, for more entries."""
    data = b"".join(export(*entries)).rstrip(b"\0")
    return data + bytes(-len(data) % 512)


ROOT = ("", tarfile.DIRTYPE, 0o750, 1000100, "")
FILE = ("a", tarfile.REGTYPE, 0o640, 1000100, b"some")


def listed(*entries, **more):
    return listing_of(export(*entries, **more), "an export")


def test_owners_are_compared_as_they_are_inside_whatever_the_shift():
    unshifted = [(p, k, m, uid - 1000000, x) for p, k, m, uid, x in (ROOT, FILE)]
    assert differences(listed(ROOT, FILE), listed(*unshifted, shift=[])) == []
    assert listed(ROOT, FILE).owner(listed(ROOT, FILE).entries["."]) == ("100", "100")
    outside = ("", tarfile.DIRTYPE, 0o750, 100, "")
    (told,) = differences(listed(ROOT, FILE), listed(outside, FILE))
    assert told.startswith(". is owned by 100 of the server (nobody inside):")


@pytest.mark.parametrize(
    "other, told",
    [
        (("a", tarfile.REGTYPE, 0o600, 1000100, b"some"), "a has mode 0600, had 0640"),
        (("a", tarfile.REGTYPE, 0o640, 1000000, b"some"), "a is owned by 0:0, was by 100:100"),
        (("a", tarfile.REGTYPE, 0o640, 1000100, b"so"), "a has 2 bytes, had 4"),
        (("a", tarfile.REGTYPE, 0o640, 1000100, b"sOme"), "a has other content"),
        (("a", tarfile.LNKTYPE, 0o640, 1000100, "gone"), "a is a hard link to gone, was a file"),
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


def test_what_lies_beside_the_volume_is_no_part_of_it():
    beside = ("-snapshots/s/a", tarfile.REGTYPE, 0o640, 1000100, b"")
    assert list(listed(ROOT, beside).entries) == ["."]


def link(path, target):
    return (path, tarfile.LNKTYPE, 0o640, 1000100, f"backup/volume/{target}")


def test_hard_links_are_compared_whichever_name_comes_first():
    a, b = FILE, ("b", *FILE[1:])
    c, other = ("c", *FILE[1:]), ("other", *FILE[1:])
    was = listed(ROOT, a, link("b", "a"), link("c", "b"), other)
    assert was.entries["c"] == was.entries["a"] and was.content_of("c") == was.contents["a"]
    assert differences(was, listed(ROOT, b, link("c", "b"), link("a", "b"), other)) == []
    assert differences(was, listed(ROOT, a, link("b", "a"), c, other)) == [
        "a is no hard link to c, was one",
        "b is no hard link to c, was one",
        "c is no hard link to a, was one",
    ]
    assert differences(was, listed(ROOT, a, *(link(x, "a") for x in ("b", "c", "other")))) == [
        "a is a hard link to other, was none",
        "b is a hard link to other, was none",
        "c is a hard link to other, was none",
        "other is a hard link to a, was none",
    ]


def test_each_file_has_the_sha256_of_its_content():
    sizes = (0, 1, 511, 512, 513, (1 << 18) - 1, 1 << 18, (3 << 19) + 7)
    files = [
        (f"f{size}", tarfile.REGTYPE, 0o640, 1, bytes(n % 251 for n in range(size)))
        for size in sizes
    ]
    assert listed(ROOT, *files).contents == {
        name: hashlib.sha256(data).digest() for name, _, _, _, data in files
    }


def test_times_are_compared_as_incus_rounds_them():
    """Measured: Incus' exports have whole seconds, the nearest; a repacked tarball has all."""
    exact, later = (*FILE, {"mtime": 1000.5}), (*FILE, {"mtime": 1001})
    assert differences(listed(ROOT, exact), listed(ROOT, later)) == []
    assert differences(listed(ROOT, FILE), listed(ROOT, later)) == [
        "a was last written at 1970-01-01T00:16:41+00:00, not 1970-01-01T00:16:40+00:00"
    ]
    beside_all_calendars = (*FILE, {"mtime": 1e15})
    (told,) = differences(listed(ROOT, FILE), listed(ROOT, beside_all_calendars))
    assert told.startswith("a was last written at 1000000000000000 s, not ")


def attributes(**values):
    return (*FILE, values)


def test_extended_attributes_are_compared_and_what_the_machine_gives_is_not():
    was = listed(ROOT, attributes(user_one="1", user_two="2\n=\0\udcff", security_selinux="a"))
    now = listed(ROOT, attributes(user_two="other", trusted_more="1", security_selinux="b"))
    assert differences(was, was) == []
    assert differences(was, now) == [
        "a has attribute trusted.more, had it not, has lost its attribute user.one, "
        "has another value of attribute user.two"
    ]


def acl(*entries):
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    return (struct.pack("<I", 2) + packed).decode(errors="surrogateescape")


NOBODY = 0xFFFFFFFF


def test_ids_in_acls_are_compared_as_they_are_inside():
    def of(uid, gid, bits=6):
        return attributes(system_posix_acl_access=acl((1, 6, NOBODY), (2, bits, uid), (8, 4, gid)))

    def unshifted(entry):
        return (*entry[:3], entry[3] - 1000000, *entry[4:])

    was = listed(ROOT, of(1000007, 1000008))
    moved = listed(unshifted(ROOT), unshifted(of(7, 8)), shift=[])
    assert differences(was, moved) == []
    assert was.attributes_of("a") == {"system.posix_acl_access": "user::6,user:7:6,group:8:4"}
    told = ["a has another value of attribute system.posix_acl_access"]
    assert differences(was, listed(ROOT, of(1000008, 1000008))) == told
    assert differences(was, listed(ROOT, of(1000007, 1000008, bits=7))) == told


def test_the_root_of_a_capability_is_compared_as_it_is_inside():
    def of(version, root):
        data = struct.pack("<IIIII", version << 24, 1, 0, 0, 0) + root
        return attributes(security_capability=data.decode(errors="surrogateescape"))

    third = listed(ROOT, of(3, struct.pack("<I", 1000000)))
    first = listed(ROOT, of(3, struct.pack("<I", 0)))
    assert third.attributes_of("a")["security.capability"].endswith("root 0")
    assert differences(first, third) == ["a has another value of attribute security.capability"]


@pytest.mark.parametrize("kind", ["gnu", "posix"])
@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_a_sparse_file_is_the_same_as_one_with_zeros(tmp_path, kind, version):
    """GNU tar makes them where an operator has packed an export again."""
    data = b"begin" + bytes(3 << 20) + b"middle" + bytes(1 << 20)
    file = tmp_path / "backup" / "volume" / "sparse"
    file.parent.mkdir(parents=True)
    (file.parent.parent / "index.yaml").write_bytes(index([]))
    with file.open("wb") as out:
        out.write(data[:5])
        out.seek((3 << 20) + 5)
        out.write(b"middle")
        out.truncate(len(data))
    argv = ["tar", "-c", "-S", f"--sparse-version={version}", f"--format={kind}", "backup"]
    packed = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout
    assert len(packed) < 1 << 20
    listing = listing_of(iter([packed]), "x")
    assert listing.entries["sparse"].size == len(data)
    assert listing.contents["sparse"] == hashlib.sha256(data).digest()


def test_a_sparse_file_larger_than_any_is_damage():
    info = tarfile.TarInfo("backup/volume/a")
    info.pax_headers = {"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"}
    data = unended(ROOT) + info.tobuf(tarfile.PAX_FORMAT)
    with pytest.raises(BackupDamaged, match="a sparse file of 1125899906842624 bytes"):
        listing_of(iter([data + bytes(1024)]), "x")


def test_content_that_ends_early_is_damage():
    whole = b"".join(export(ROOT, (*FILE[:4], bytes(4096))))
    for left in (1, 512, 600, 4095):
        cut = whole[: whole.index(b"backup/volume/a") + 512 + left]
        with pytest.raises(BackupDamaged):
            listing_of(iter([cut]), "x")


def test_of_what_the_service_has_written_since_nothing_is_said():
    was, now = listed(ROOT, FILE), listed(ROOT, FILE)
    entry = now.entries["a"]
    now.entries["a"] = entry._replace(uid=1000000, mtime=entry.mtime + 60)
    now.entries["made by the service"] = entry
    assert differences_of_unwritten(was, now) == []
    now.entries["a"] = entry._replace(uid=1000000, size=9)
    assert differences_of_unwritten(was, now) == ["a is owned by 0:100, was by 100:100"]


def test_an_index_that_tells_no_owners_is_damage():
    junk = {"config": {"volume": {"config": {"volatile.idmap.last": "[1]"}}}}
    for index in ({"config": 3}, {}, junk):
        with pytest.raises(BackupDamaged, match="an export: its index does not tell owners"):
            Listing().read_index(index, "an export")


def test_the_first_ten_are_named():
    faults = [f"f{n} is missing" for n in range(13)]
    assert in_short(faults).endswith("f9 is missing; and 3 more")
    assert in_short(faults[:2]) == "f0 is missing; f1 is missing"
