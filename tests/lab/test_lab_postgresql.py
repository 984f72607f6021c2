"""PostgreSQL, which no class knows, is drilled by its fleet file, and its loss is seen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import drills.test_restore_from_snapshot as runbook
import fixtures.recovery.after as after
import tests.sabotage.acts as acts
from fixtures.errors import WrongData
from fixtures.fleet.load import load_fleet
from fixtures.lab.lab import Lab
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import session_of

ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "fleets" / "postgresql.yaml"
VERIFIED = {"whole: every heap and index is sound", "whole: a checkpoint is written"}
FACTS = {"rows of each table", "sum of each table", "databases", "page checksums", "damaged pages"}
APP = """
create table orders as select g as id, repeat('x', 100) as t from generate_series(1, 20000) g;
create index orders_id on orders (id); checkpoint"""


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
    rows = "postgres.public.drill: 3\npostgres.tables: 1"
    assert (held["rows of each table"], held["page checksums"]) == (rows, "on")
    assert held.keys() >= FACTS | VERIFIED
    assert "postgresql" in evidence["images"]
    backups = Lab().state_dir / "backups"
    assert all(list((backups / source).iterdir()) for source in ("atlas", "postgresql"))


def zero(service, relation):
    """A relation of database `app` is zeros from its third page on: a checksum allows that."""
    place = sql(service, f"select pg_relation_filepath('{relation}')", "app")
    path = f"/var/lib/postgresql/17/main/{place}"
    script = (
        'systemctl stop postgresql@17-main; size=$(stat -c %s "$1"); truncate -s 16384 "$1"; '
        'truncate -s "$size" "$1"; systemctl start postgresql@17-main'
    )
    service.instance.must_exec(["sh", "-c", script, "zero", path])


def broken(drill):
    return {check.name for check in drill.record().checks if check.outcome == "broken"}


def test_a_damaged_index_table_and_rows_are_wrong_data(
    postgresql, make_service, pytestconfig, monkeypatch
):
    """The index is damaged in the drill, and seen after its clock; table and rows on the clock."""
    monkeypatch.setattr(after, "SOAK_SECONDS", 0.0)
    drill, service = make_service("postgresql", "snapshot", spec=postgresql)
    service.deploy()
    sql(service, "create database app")
    for statement in APP.split(";"):
        sql(service, statement, "app")
    backup = service.back_up("snapshot")
    acts.after("wait_until_healthy", lambda *_: zero(service, "orders_id"))(service, backup)
    found = acts.broken(
        acts.attempt(drill, runbook.test_service_restored_from_snapshot, service, backup)
    )
    assert "whole: every heap and index is sound" in found
    rows = next(one for one in service.subject.list_items(drill.begun) if "orders" in one.name)
    assert rows.count == 20000, "the table itself is whole"
    del service.wait_until_healthy
    service.drill = session_of(pytestconfig).new_drill(Planned(postgresql, "snapshot"))
    service.wait_until_healthy()
    first, second, _ = (canary.key for canary in service.held)
    sql(service, f"update drill set value = value || ' ' where id = '{first}'")
    sql(service, f"delete from drill where id = '{second}'")
    zero(service, "orders")
    service.wait_until_healthy()
    with pytest.raises(WrongData):
        service.must_hold(backup)
    assert broken(service.drill) == {"canaries", "rows of each table", "sum of each table"}
    canaries = service.drill.record().canaries
    assert canaries.recovered == ["earlier canary 3"]
    assert len(canaries.gone) == 3
    assert canaries.changed == ["earlier canary 1"]
    assert canaries.lost == ["earlier canary 2"]
    assert service.subject.version().startswith("postgresql 17.")
