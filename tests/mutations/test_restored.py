"""Damage that nothing covers: neither a compression, a checksum nor a note.

`ATLAS_DRILLS_MUTATIONS=1000 pytest tests/mutations/test_restored.py` restores a hundred of each
kind, and prints how many of them only a note would have shown.
"""

from collections import Counter
from dataclasses import replace

import pytest

import fixtures.recovery.after as after
import fixtures.recovery.service as verbs
import tests.sabotage.acts as acts
from fixtures.backups.streams import DecompressedReader, open_hashed, read_archive
from fixtures.errors import BackupDamaged, CouldNotLook
from fixtures.evidence.record import Verdict
from fixtures.plugin.fixtures import session_of
from tests.mutations.mutate import mutations
from tests.mutations.test_mutations import COUNT, file_of

RESTORED = max(COUNT // 10, 4)
KINDS = ["mosquitto", "prometheus", "loki"]


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


@pytest.fixture
def drilled(pytestconfig, fleet, make_service):
    """The verdict on a service's tarball in `place`, without a note and a live service."""

    stage = session_of(pytestconfig)

    def run(name, place):
        spec = fleet.service(name).model_copy(update={"live": "none"})
        return acts.drill_existing(stage, spec, "tarball", place, make_service)

    return run


@pytest.mark.parametrize("name", KINDS)
def test_bare_damage_is_named_or_restores_what_the_file_holds(
    drilled, place, fleet, tmp_path, name, capsys
):
    packed = file_of(place, fleet.service(name), "tarball")
    bare = tmp_path / "bare" / f"{name}01-data.tar"
    bare.parent.mkdir()
    with open_hashed(packed) as file:
        content = DecompressedReader(file, packed.name)
        bare.write_bytes(b"".join(iter(lambda: content.read(1 << 20), b"")))
    own, right, seen = replace(place, places=(bare.parent,)), files_in(bare), Counter()
    whole = drilled(name, own)
    assert (whole.verdict, whole.strength) == (Verdict.RECOVERED, "sound"), whole.reason
    for what, damaged in mutations(f"bare {name}", bare.read_bytes(), RESTORED):
        bare.write_bytes(damaged)
        record = drilled(name, replace(own))
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
