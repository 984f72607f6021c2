"""Damaged backups: every one is named so, or shown to restore to exactly the right data.

`ATLAS_DRILLS_MUTATIONS=1000 pytest tests/mutations` makes a thousand of each kind, restores a
hundred that nothing covers (neither a compression, a checksum nor a note), and prints what became
of them.
"""

import hashlib
import os
from collections import Counter
from dataclasses import replace

import pytest

import fixtures.recovery.after as after
import fixtures.recovery.service as verbs
import tests.sabotage.acts as acts
from fixtures.backups.streams import DecompressedReader, open_hashed, read_archive
from fixtures.backups.sums import check_sum
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.evidence.record import Verdict
from fixtures.plugin.fixtures import session_of
from fixtures.recovery.bucket import inspect_export
from fixtures.services.note import find_notes, read_note
from tests.mutations.mutate import mutations

COUNT = int(os.environ.get("ATLAS_DRILLS_MUTATIONS", "66"))
RESTORED = max(COUNT // 10, 4)
KINDS = [
    ("loki", "tarball"),
    ("mosquitto", "tarball"),
    ("step-ca", "encrypted-tarball"),
    ("prometheus", "native"),
]


def count_of(kind):
    """How many of a kind are damaged: gpg derives its key for some 0.2 s, each time."""
    return COUNT // 6 if kind == "encrypted-tarball" else COUNT


def newest(place, fleet, service, kind):
    """The newest backup of a kind; files are searched again, and only this kind is decrypted."""
    passphrase = place.passphrase if kind == "encrypted-tarball" else None
    return replace(place, passphrase=passphrase).newest(fleet.service(service), kind)


def file_of(place, subject, kind):
    return replace(place).newest_file(subject, kind).path


@pytest.mark.parametrize("service, kind", KINDS)
def test_no_damage_passes_the_checksum_next_to_the_file(place, fleet, service, kind):
    file = file_of(place, fleet.service(service), kind)
    whole = file.read_bytes()
    assert check_sum(file) == hashlib.sha256(whole).hexdigest()
    for what, damaged in mutations(f"noted {service} {kind}", whole, count_of(kind)):
        file.write_bytes(damaged)
        with pytest.raises((BackupDamaged, CouldNotLook)):
            newest(place, fleet, service, kind)
            pytest.fail(f"{what} of {file.name} passed")
        with pytest.raises(BackupDamaged, match="is not what was written"):
            check_sum(file)


def content(backup):
    """What Incus would be given, uncompressed."""
    with backup.tarball.content() as plain:
        stream = DecompressedReader(plain, backup.tarball.path.name)
        return hashlib.sha256(b"".join(iter(lambda: stream.read(1 << 20), b""))).hexdigest()


@pytest.mark.parametrize("service, kind", KINDS[:3])
def test_damage_without_a_checksum_is_seen_by_reading(place, fleet, service, kind, capsys):
    """As of a file that was damaged before it was read for the first time."""
    file, seen = file_of(place, fleet.service(service), kind), Counter()
    right = content(newest(place, fleet, service, kind))
    file.with_name(f"{file.name}.sha256").unlink()
    for what, damaged in mutations(f"covered {service} {kind}", file.read_bytes(), count_of(kind)):
        file.write_bytes(damaged)
        try:
            backup = newest(place, fleet, service, kind)
        except BackupDamaged:
            seen["named damaged"] += 1
        except CouldNotLook as error:
            # Nothing in it says that it is a backup any more.
            assert f"there is no {kind} of {service}" in error.message, what
            seen["no backup"] += 1
        else:
            assert content(backup) == right, what
            seen["the same content"] += 1
    assert sum(seen.values()) == count_of(kind)
    assert seen["named damaged"] > count_of(kind) * 0.8
    with capsys.disabled():
        print(f"\n{service} {kind}: {dict(seen)}")


def test_a_bucket_export_names_its_damage(place, fleet):
    (spec,) = fleet.buckets
    file = file_of(place, spec, "native")
    right = inspect_export(file, bucket=spec.name)
    for what, damaged in mutations("bucket", file.read_bytes(), COUNT):
        file.write_bytes(damaged)
        with pytest.raises(BackupDamaged):
            check_sum(file)
            pytest.fail(f"{what} passed")
        try:
            seen = inspect_export(file, bucket=spec.name)
        except BackupDamaged:
            continue
        assert (seen.objects, seen.keys) == (right.objects, right.keys), what


def test_a_damaged_note_is_reported_or_says_what_it_says(place):
    """A note has no checksum: what is still YAML of its form is another note."""
    file, seen = replace(place).notes[0][0].path, Counter()
    for _, damaged in mutations("note", file.read_bytes(), COUNT):
        file.write_bytes(damaged)
        found, faults = find_notes([file])
        if found:
            assert found[0].note == read_note(damaged)
        seen["read" if found else "reported" if faults else "no note"] += 1
    assert sum(seen.values()) == COUNT


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 6.0)
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.5)


def files_in(path):
    """Everything of an export but padding, by name: what a restore brings back of it."""
    found = {}

    def visit(archive, entry):
        content = archive.open_file(entry)
        about = (entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, entry.mtime)
        found[entry.name] = (about, content.read() if content else b"")

    with open_hashed(path) as file:
        read_archive(DecompressedReader(file, path.name), path.name, visit)
    return found


@pytest.mark.parametrize("name", ["mosquitto", "prometheus", "loki"])
def test_bare_damage_is_named_or_restores_what_the_file_holds(
    pytestconfig, make_service, place, fleet, tmp_path, name, capsys
):
    """Without a note and a live service."""
    stage, spec = session_of(pytestconfig), fleet.service(name)
    spec = spec.model_copy(update={"live": "none"})

    def drilled():
        return acts.drill_existing(stage, spec, "tarball", replace(own), make_service)

    packed = file_of(place, spec, "tarball")
    bare = tmp_path / "bare" / f"{name}01-data.tar"
    bare.parent.mkdir()
    with open_hashed(packed) as file:
        content = DecompressedReader(file, packed.name)
        bare.write_bytes(b"".join(iter(lambda: content.read(1 << 20), b"")))
    own, right, seen = replace(place, places=(bare.parent,)), files_in(bare), Counter()
    whole = drilled()
    assert (whole.verdict, whole.strength) == (Verdict.RECOVERED, "sound"), whole.reason
    for what, damaged in mutations(f"bare {name}", bare.read_bytes(), RESTORED):
        bare.write_bytes(damaged)
        record = drilled()
        if record.verdict is not Verdict.RECOVERED:
            assert record.reason, what
            seen["named"] += 1
            continue
        try:
            same = files_in(bare) == right
        except (BackupDamaged, CouldNotLook) as error:
            pytest.fail(f"{what}: recovered although {error}")
        seen["the same content" if same else "only a note would have shown it"] += 1
    assert sum(seen.values()) == RESTORED
    with capsys.disabled():
        print(f"\n{name}, not compressed: {dict(seen)}")
