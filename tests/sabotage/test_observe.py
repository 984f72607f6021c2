"""`./run observe` on a real source: it changes nothing, and tells what a backup has cost."""

import shutil
from dataclasses import replace

import pytest

import fixtures.recovery.service as verbs
import tests.sabotage.acts as acts
from fixtures.errors import DrillError
from fixtures.evidence.record import Verdict
from fixtures.incus.instance import Instance
from fixtures.incus.inventory import inventory
from fixtures.incus.volumes import Volume
from fixtures.plugin import observe as command
from fixtures.plugin.fixtures import backup_locations, session_of
from fixtures.plugin.observe import observe, view_of_lab
from fixtures.plugin.target import back_up
from fixtures.recovery.source import lab_passphrase_file, run_script
from fixtures.services.mosquitto import connected
from fixtures.services.note import find_notes, open_source


@pytest.fixture
def view(pytestconfig, drill_project, fleet):
    """The lab's source, by which nothing can be changed."""
    return view_of_lab(session_of(pytestconfig).target.lab, fleet.source_project)


@pytest.fixture
def directory(pytestconfig, fleet):
    """A directory of backups of its own, which the lab sees as well."""
    lab = session_of(pytestconfig).target.lab
    made = lab.state_dir / "backups" / "observed"
    made.mkdir(mode=0o700)
    lab_passphrase_file(made)
    yield made
    shutil.rmtree(made)


def test_every_service_of_the_lab_is_read_and_nothing_is_changed(view, fleet, tmp_path):
    before = inventory(view.incus, view.incus.project)
    seen = observe(view, fleet.services, tmp_path)
    assert inventory(view.incus, view.incus.project) == before
    read = {name for name, found in seen.note.services.items() if found.holds}
    assert read == {spec.name for spec in fleet.services}
    assert seen.not_read == []
    assert seen.path.stat().st_mode & 0o777 == 0o600
    again = observe(view, fleet.services, tmp_path)
    assert again.findings == []
    notes, _ = find_notes(sorted(tmp_path.iterdir()))
    assert [found.note for found in notes] == [seen.note, again.note]


def test_by_hand_it_says_what_it_read(pytestconfig, view, tmp_path, capsys):
    argv = ["--incus=lab", f"--to={tmp_path}", "--only"]
    assert command.main([*argv, "mosquitto"]) == 0
    assert "1 of 1 services read" in capsys.readouterr().out
    assert command.main([*argv, "absent"]) == 2
    assert command.main(["--incus=lab", f"--to={tmp_path}/none"]) == 2
    assert "nothing was contacted" in capsys.readouterr().out


def test_a_service_that_is_away_is_named(view, owner, fleet, tmp_path):
    instance = Instance(owner, "alertmanager01")
    instance.must_exec(["systemctl", "stop", "alertmanager"])
    try:
        (fault,) = observe(view, [fleet.service("alertmanager")], tmp_path).not_read[:1]
        assert fault.startswith("alertmanager: ")
    finally:
        instance.must_exec(["systemctl", "start", "alertmanager"])


def publish(view, *topics):
    reached = open_source(view.incus, "mosquitto01", host=view.host, connect=view.connect)
    with connected(lambda: reached.dial(1883)) as client:
        for topic in topics:
            client.publish(f"in/memory/{topic}", b"x", 1, retain=True)


@pytest.fixture
def broker(view, owner, fleet):
    """The source's broker, which cannot write its database, with 200 messages in memory alone."""
    instance = Instance(owner, "mosquitto01")
    instance.must_exec(["mkdir", "-p", "/mosquitto/data/mosquitto.db.new/in-the-way"])
    publish(view, *range(200))
    yield fleet.service("mosquitto")
    instance.must_exec(["rm", "-rf", "/mosquitto/data/mosquitto.db.new"])


def test_what_a_stop_has_lost_is_a_finding_and_the_backup_is_wrong(
    pytestconfig, fleet, view, owner, directory, broker, make_service, monkeypatch
):
    """Attack 3: 200 of 503 messages were lost by the stop, and the backup was `recovered`."""
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 20.0)
    stage = session_of(pytestconfig)
    volume = Volume(owner, "local", "mosquitto01-data")
    there = set(volume.snapshots())
    try:
        before = observe(view, [broker], directory)
        assert before.findings == []
        run_script(stage.target.lab.command, directory, "/backup/observed", fleet, [broker], [])
        (finding,) = observe(view, [broker], directory).findings
        assert finding.startswith("mosquitto: 200 of 204 retained messages are gone: in/memory/")
        backups = replace(backup_locations(stage), places=(directory,))
        why = "there before the backup, and gone at the source after it"
        for kind in ("snapshot", "tarball"):
            record = acts.drill_existing(stage, broker, kind, backups, make_service)
            acts.must_be(record, Verdict.WRONG_DATA, why)
        with pytest.raises(DrillError, match="the lab's source lost data"):
            publish(view, "once-more")
            back_up(stage.target.lab.command, view, directory, fleet)([broker], [])
    finally:
        for name in set(volume.snapshots()) - there:
            acts.delete_of(volume, "snapshots", name)
