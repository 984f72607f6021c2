"""PostgreSQL, which no class knows, is drilled by its fleet file, and its loss is seen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import drills.test_restore_from_snapshot as runbook
import fixtures.recovery.after as after
from fixtures.errors import CouldNotLook, DrillError
from fixtures.evidence.record import Verdict
from fixtures.fleet.load import load_fleet
from fixtures.lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "fleets" / "postgresql.yaml"
VERIFIED = {"every heap and index is sound", "a checkpoint is written"}
FACTS = {"rows of each table", "sum of each table", "databases", "page checksums", "damaged pages"}


@pytest.fixture(scope="module")
def postgresql(drill_project):
    """The service's entry; the lab of this run has its image."""
    fleet = load_fleet(FLEET)
    lab = Lab(images=fleet.images)
    assert str(lab.socket) == drill_project.endpoint
    lab.up()
    assert set(fleet.images) <= set(lab.status().images)
    return fleet.service("postgresql")


def sql(service, statement, database="postgres"):
    psql = ["psql", "-AtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement]
    return service.instance.must_exec(["runuser", "-u", "postgres", "--", *psql]).strip()


def test_its_rows_come_back_from_an_encrypted_tarball(postgresql, tmp_path):
    """By its fleet file alone; what another fleet has in the same lab stays."""
    command = [sys.executable, "-m", "pytest", "drills", f"--fleet={FLEET}"]
    command += ["-k", "restored_from_encrypted", f"--reports={tmp_path}", "-p", "no:cacheprovider"]
    command += ["-p", "tests.faults.brief"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    [path] = tmp_path.glob("*/evidence.json")
    evidence = json.loads(path.read_text())
    [drill] = evidence["drills"]
    assert (drill["scenario"], drill["verdict"]) == ("encrypted-tarball", "recovered")
    assert len(drill["canaries"]["recovered"]) == len(drill["canaries"]["gone"]) == 3
    held = {check["name"]: check["detail"] for check in drill["checks"]}
    assert held.keys() >= FACTS
    rows = "postgres.public.drill: 3\npostgres.tables: 1"
    assert (held["rows of each table"], held["page checksums"]) == (rows, "on")
    assert held.keys() >= VERIFIED
    assert "postgresql" in evidence["images"]
    backups = Lab().state_dir / "backups"
    assert all(list((backups / source).iterdir()) for source in ("atlas", "postgresql"))


def test_a_changed_and_a_deleted_row_are_wrong_data(postgresql, make_service):
    drill, service = make_service("postgresql", "snapshot", spec=postgresql)
    service.deploy()
    backup = service.back_up("snapshot")
    whole = service.wait_until_healthy
    first, second, _ = (canary.key for canary in service.held)

    def spoiled():
        whole()
        sql(service, f"update drill set value = value || ' ' where id = '{first}'")
        sql(service, f"delete from drill where id = '{second}'")

    service.wait_until_healthy = spoiled
    try:
        runbook.test_service_restored_from_snapshot(drill, service, backup)
    except DrillError as error:
        drill.fail(error)
    record = drill.record()
    assert record.verdict is Verdict.WRONG_DATA
    assert record.canaries.recovered == ["earlier canary 3"]
    assert len(record.canaries.gone) == 3
    assert record.canaries.changed == ["earlier canary 1"]
    assert record.canaries.lost == ["earlier canary 2"]
    broken = {check.name for check in record.checks if check.outcome == "broken"}
    assert broken == {"canaries", "rows of each table", "sum of each table"}
    assert service.subject.version().startswith("postgresql 17.")


APP = """
create table orders as select g as id, repeat('x', 100) as t from generate_series(1, 20000) g;
create index orders_id on orders (id); checkpoint"""


def zero(service, relation):
    """A relation of database `app` is zeros from its third page on: a checksum allows that."""
    place = sql(service, f"select pg_relation_filepath('{relation}')", "app")
    path = f"/var/lib/postgresql/17/main/{place}"
    script = (
        'systemctl stop postgresql@17-main; size=$(stat -c %s "$1"); truncate -s 16384 "$1"; '
        'truncate -s "$size" "$1"; systemctl start postgresql@17-main'
    )
    service.instance.must_exec(["sh", "-c", script, "zero", path])


@pytest.mark.parametrize(
    ("relation", "broken"),
    [
        ("orders", {"rows of each table", "sum of each table"}),
        ("orders_id", {"every heap and index is sound"}),
    ],
    ids=["table", "index"],
)
def test_zeros_in_another_database_are_wrong_data(
    postgresql, make_service, relation, broken, monkeypatch
):
    drill, service = make_service("postgresql", "snapshot", spec=postgresql)
    service.deploy()
    sql(service, "create database app")
    for statement in APP.split(";"):
        sql(service, statement, "app")
    backup = service.back_up("snapshot")
    whole = service.wait_until_healthy

    def spoiled():
        whole()
        zero(service, relation)
        whole()

    service.wait_until_healthy = spoiled
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.0)
    try:
        runbook.test_service_restored_from_snapshot(drill, service, backup)
        drill.run_later_checks()
    except DrillError as error:
        drill.fail(error)
    record = drill.record()
    assert record.verdict is Verdict.WRONG_DATA, record.reason
    assert {check.name for check in record.checks if check.outcome == "broken"} >= broken
    rows = next(one for one in service.subject.list_items(drill.begun) if "orders" in one.name)
    assert rows.count == (20000 if relation == "orders_id" else rows.count) < 20001


def test_a_read_that_echoes_is_refused_before_anything_is_lost(postgresql, make_service):
    echo = {"read": ("psql", "-AtX", "-c", "select '{id}'")}
    spoiled = postgresql.model_copy(update={"canary": postgresql.canary.model_copy(update=echo)})
    drill, service = make_service("postgresql", "snapshot", spec=spoiled)
    with pytest.raises(CouldNotLook) as refused:
        service.deploy()
    assert "for an id that was never written" in refused.value.message
    drill.fail(refused.value)
    assert drill.record().verdict is Verdict.NOT_VERIFIED
    assert service.instance.exists()
