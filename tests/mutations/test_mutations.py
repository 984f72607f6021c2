"""Damaged backups: every one is named so, or shown to restore to exactly the right data.

`ATLAS_DRILLS_MUTATIONS=1000 pytest tests/mutations` makes a thousand of each kind, and prints what
became of them.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter

import pytest
from fixtures.procedure.found import existing
from fixtures.procedure.store import Store

from fixtures.backups import bucket_export
from fixtures.backups.streams import Peeked, decompressed
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.services import grafana_native
from tests.mutations.mutate import mutations

COUNT = int(os.environ.get("ATLAS_DRILLS_MUTATIONS", "110"))
KINDS = [
    ("loki", "tarball"),
    ("mosquitto", "tarball"),
    ("step-ca", "encrypted-tarball"),
    ("prometheus", "native"),
    ("grafana", "native"),
]


def note_of(place, service, kind):
    store = Store(place.directory)
    note = store.notes(service, kind)[-1]
    return store, note, store.path(note)


@pytest.mark.parametrize("service, kind", KINDS, ids=["-".join(kind) for kind in KINDS])
def test_no_damage_passes_the_checksum_of_the_note(place, fleet, service, kind):
    _, note, file = note_of(place, service, kind)
    whole, spec = file.read_bytes(), fleet.service(service)
    assert existing(place, spec, kind).name == note.name
    try:
        for what, damaged in mutations(f"noted {service} {kind}", whole, COUNT):
            file.write_bytes(damaged)
            with pytest.raises(BackupDamaged, match="is not what was written"):
                existing(place, spec, kind)
                pytest.fail(f"{what} of {file.name} passed")
    finally:
        file.write_bytes(whole)


def content(place, kind, file):
    """What Incus would be given, uncompressed."""
    backup = existing(place, *kind)
    with backup.tarball.content() as plain, decompressed(Peeked(plain), file.name) as stream:
        digest = hashlib.sha256()
        while data := stream.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


@pytest.mark.parametrize("service, kind", KINDS[:3], ids=["-".join(kind) for kind in KINDS[:3]])
def test_damage_that_its_note_covers_up_is_seen_by_reading(place, fleet, service, kind, capsys):
    """As of a file that was damaged before its checksum was taken."""
    store, note, file = note_of(place, service, kind)
    whole, spec, seen = file.read_bytes(), fleet.service(service), Counter()
    right = content(place, (spec, kind), file)
    try:
        for what, damaged in mutations(f"covered {service} {kind}", whole, COUNT):
            file.write_bytes(damaged)
            digest = hashlib.sha256(damaged).hexdigest()
            store.keep(note.model_copy(update={"sha256": digest}), None)
            try:
                existing(place, spec, kind)
            except BackupDamaged as error:
                assert "has no note" not in error.message
                assert "is not what was written" not in error.message
                seen["named damaged"] += 1
            else:
                assert content(place, (spec, kind), file) == right, what
                seen["the same content"] += 1
    finally:
        file.write_bytes(whole)
        store.keep(note, None)
    assert sum(seen.values()) == COUNT
    assert seen["named damaged"] > COUNT * 0.9
    with capsys.disabled():
        print(f"\n{service} {kind}: {dict(seen)}")


def test_an_export_of_grafana_names_its_damage_without_a_checksum(place, fleet):
    store, note, file = note_of(place, "grafana", "native")
    whole, spec = file.read_bytes(), fleet.service("grafana")
    right = grafana_native.read(file)
    try:
        for what, damaged in mutations("covered grafana", whole, COUNT):
            file.write_bytes(damaged)
            digest = hashlib.sha256(damaged).hexdigest()
            store.keep(note.model_copy(update={"sha256": digest}), None)
            try:
                existing(place, spec, "native")
            except BackupDamaged:
                continue
            assert grafana_native.read(file) == right, what
    finally:
        file.write_bytes(whole)
        store.keep(note, None)


def test_a_bucket_export_names_its_damage(place, fleet):
    spec = fleet.buckets[0]
    store, note, file = note_of(place, spec.name, "native")
    whole = file.read_bytes()
    right = bucket_export.inspect(file, bucket=spec.name)
    try:
        for what, damaged in mutations("bucket", whole, COUNT):
            file.write_bytes(damaged)
            with pytest.raises(BackupDamaged):
                store.must_be_good(note)
                pytest.fail(f"{what} passed")
            try:
                seen = bucket_export.inspect(file, bucket=spec.name)
            except BackupDamaged:
                continue
            assert (seen.objects, seen.keys) == (right.objects, right.keys), what
    finally:
        file.write_bytes(whole)


def test_a_damaged_note_is_no_note(place, fleet):
    """The file beside it then has none, and is younger than all that have one."""
    _, note, file = note_of(place, "mosquitto", "tarball")
    place_of_note = file.with_name(f"{note.name}.json")
    whole, spec, right = place_of_note.read_bytes(), fleet.service("mosquitto"), note
    seen = Counter()
    try:
        for what, damaged in mutations("note", whole, COUNT):
            place_of_note.write_bytes(damaged)
            try:
                found = existing(place, spec, "tarball")
            except (BackupDamaged, CouldNotLook):
                seen["named"] += 1
                continue
            # The file itself is whole: what is left is a note that tells something else.
            seen["other words"] += 1
            assert found.tarball.sha256 == right.sha256, what
    finally:
        place_of_note.write_bytes(whole)
    assert seen["named"] > COUNT * 0.8
