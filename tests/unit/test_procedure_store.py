"""Files and notes of backups: whole or not there, and never without each other."""

from __future__ import annotations

import hashlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.errors import BackupDamaged, CouldNotLook, UsageError
from fixtures.plugin.passphrase import read_passphrase
from fixtures.procedure.journal import Journal
from fixtures.procedure.store import Note, Store, final_name

NOW = datetime(2026, 11, 23, 22, 5, tzinfo=UTC)


def note(name: str, *, kind: str = "tarball", content: bytes = b"content", age: int = 0) -> Note:
    return Note(
        service="mosquitto",
        kind=kind,
        name=name,
        taken_at=NOW - timedelta(days=age),
        project="atlas",
        pool="local",
        volume="mosquitto01-data",
        seconds=1.0,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def kept(store: Store, name: str, **more: object) -> Note:
    file = store.incoming("mosquitto", "tarball") / "written"
    file.write_bytes(b"content")
    return store.keep(note(name, **more), file)  # type: ignore[arg-type]


def test_a_kept_file_has_its_note_and_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store, "a.tar.zst")
    assert store.path(made).read_bytes() == b"content"
    assert store.notes("mosquitto", "tarball") == [made]
    beside = store.path(made).with_name("a.tar.zst.json")
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    store.must_be_good(made)


def test_notes_come_oldest_first_and_foreign_files_are_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept(store, "new.tar.zst")
    kept(store, "old.tar.zst", age=3)
    place = tmp_path / "mosquitto" / "tarball"
    (place / "foreign.json").write_text("{}")
    (place / "no-json.json").write_text("not json")
    (place / "mine.tar.zst").write_text("an operator's own, without a note")
    names = [each.name for each in store.notes("mosquitto", "tarball")]
    assert names == ["old.tar.zst", "new.tar.zst"]


def test_a_note_without_a_file_is_no_backup(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store, "a.tar.zst")
    store.path(made).unlink()
    assert store.notes("mosquitto", "tarball") == []


def test_a_file_that_changed_is_no_good(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store, "a.tar.zst")
    store.path(made).write_bytes(b"c0ntent")
    with pytest.raises(BackupDamaged, match=r"a\.tar\.zst is not what was written"):
        store.must_be_good(made)


def test_what_an_interrupted_run_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store, "a.tar.zst")
    half = store.incoming("mosquitto", "tarball") / ".half.partial"
    half.write_bytes(b"ha")
    (tmp_path / "mosquitto" / "tarball" / ".a.tar.zst.json.partial").write_text("{")
    orphan = tmp_path / "mosquitto" / "tarball" / "b.tar.zst.json"
    orphan.write_text(note("b.tar.zst").model_dump_json())
    snapshot = tmp_path / "mosquitto" / "snapshot"
    snapshot.mkdir()
    (snapshot / "backup-1.json").write_text(note("backup-1", kind="snapshot").model_dump_json())
    assert sorted(store.clear()) == [
        "note without a file mosquitto/tarball/b.tar.zst.json",
        "unfinished mosquitto/tarball/.a.tar.zst.json.partial",
        "unfinished mosquitto/tarball/.half.partial",
    ]
    assert store.notes("mosquitto", "tarball") == [made]
    assert len(store.notes("mosquitto", "snapshot")) == 1


def test_a_note_that_cannot_be_amended_is_left_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = kept(store, "a.tar.zst")
    (tmp_path / "mosquitto" / "tarball" / ".a.tar.zst.json.partial").mkdir()
    with pytest.raises(CouldNotLook, match=r"keep backup .*a\.tar\.zst"):
        store.keep(made.model_copy(update={"downtime": 1.0}), None)
    assert store.notes("mosquitto", "tarball") == [made]


def test_a_place_that_cannot_be_written_to_leaves_no_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = store.incoming("mosquitto", "tarball") / "written"
    file.write_bytes(b"content")
    (tmp_path / "mosquitto" / "tarball" / "a.tar.zst").mkdir()
    with pytest.raises(CouldNotLook, match=r"keep backup .*a\.tar\.zst"):
        store.keep(note("a.tar.zst"), file)
    assert not (tmp_path / "mosquitto" / "tarball" / "a.tar.zst.json").exists()


def test_names_say_what_and_when() -> None:
    name = final_name("step-ca", "encrypted-tarball", NOW, ".tar.zst.gpg")
    assert name == "step-ca-encrypted-tarball-20261123T220500Z.tar.zst.gpg"


def test_the_journal_remembers_until_it_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "stopped")
    assert journal.stopped() == []
    journal.stopping("b01")
    journal.stopping("a01")
    assert Journal(tmp_path / "stopped").stopped() == ["a01", "b01"]
    journal.started("a01")
    journal.started("a01")
    assert journal.stopped() == ["b01"]


def test_a_passphrase_file_is_private_and_has_a_line(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("words of the operator\nsecond line\n")
    file.chmod(0o600)
    assert read_passphrase(file).reveal() == "words of the operator"
    file.chmod(0o640)
    with pytest.raises(UsageError, match="others may read it .*nothing was done"):
        read_passphrase(file)
    file.chmod(0o600)
    file.write_text("\n")
    with pytest.raises(UsageError, match="its first line is empty"):
        read_passphrase(file)
    with pytest.raises(UsageError, match="No such file or directory"):
        read_passphrase(tmp_path / "nowhere")
