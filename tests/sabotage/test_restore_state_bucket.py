"""The drill of the state bucket, seen red for each of its verifications, and what it keeps safe."""

import json
from types import SimpleNamespace

import pytest

import drills.test_restore_state_bucket as runbook
import tests.sabotage.acts as acts
from fixtures.errors import CouldNotLook, IncusError, WrongData
from fixtures.evidence.record import Verdict
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import session_of
from fixtures.recovery.bucket import BucketUnderDrill, name_in
from fixtures.services.terraform_state import S3

KEY = "atlas/terraform.tfstate"
body = runbook.test_state_bucket_restored_from_export


@pytest.fixture
def drilled(make_bucket):
    """Runs the drill's body on a sabotaged bucket and returns its evidence."""

    def run(sabotage):
        drill, bucket = make_bucket()
        bucket.subject.s3.request("PUT", "atlas/changed", data=b"whole")
        bucket.subject.s3.request("PUT", "atlas/deleted", data=b"whole")
        export = bucket.back_up()
        sabotage(bucket, export)
        return acts.attempt(drill, body, bucket, export)

    return run


def after_import(act):
    """Import as it should be, then do `act(bucket)`."""
    return acts.after("import_export", lambda bucket, _: act(bucket))


def test_a_drill_that_is_not_spoiled_recovers(drilled):
    record = drilled(acts.nothing)
    acts.must_be(record, Verdict.RECOVERED)
    assert {check.name for check in record.checks} >= {
        *("canaries", "state serial", "state lineage", f"object {KEY}", f"object {KEY}.tflock"),
        *("key admin", "key reader", "the lock refuses a second apply", "plan finds no changes"),
        *("apply works again", "the read-only key reads", "the read-only key does not write"),
        "plan with the read-only key",
    }
    assert (len(record.canaries.recovered), len(record.canaries.gone)) == (2, 2)
    assert record.restore.bytes > 0 and record.software.startswith("OpenTofu 1.")


def delete_the_admin_key(bucket):
    admin = next(key for key in bucket.keys if key.role == "admin")
    acts.delete_of(bucket.bucket, "keys", admin.name)


def rot(bucket, export):
    acts.flip_a_bit(export.tarball.path)


ROWS = [
    (acts.instead("import_export", acts.nothing), "-state healthy: not within", "NoSuchBucket"),
    (after_import(delete_the_admin_key), "-state healthy: not within", "InvalidAccessKeyId"),
    (rot, "is damaged: its sha256 is", "it was not imported"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[-1])
def test_a_bucket_that_is_not_served_is_not_recovered(drilled, row):
    sabotage, *words = row
    acts.must_be(drilled(sabotage), Verdict.NOT_RECOVERED, *words)


def test_an_older_state_is_wrong_data(make_bucket):
    drill, bucket = make_bucket()
    old, backup = bucket.back_up(), bucket.back_up()
    whole = bucket.import_export
    bucket.import_export = lambda _: whole(old)
    record = acts.attempt(drill, body, bucket, backup)
    acts.must_be(record, Verdict.WRONG_DATA, "state serial: is ", "lost: ")


def test_whatever_is_changed_or_missing_is_wrong_data_and_named(drilled):
    def change(bucket):
        s3 = bucket.subject.s3
        state = json.loads(s3.get(bucket.spec.key).replace(b'"::1"', b'"::2"'))
        state["lineage"] = "00000000-0000-0000-0000-000000000000"
        s3.request("PUT", bucket.spec.key, data=json.dumps(state).encode())
        bucket.subject.remove_lock()
        s3.request("PUT", "atlas/changed", data=b"changed")
        s3.request("DELETE", "atlas/deleted")
        # Of the same name, with another secret.
        acts.delete_of(bucket.bucket, "keys", "reader")
        bucket.bucket.create_reader("reader")

    found = acts.broken(drilled(after_import(change)))
    assert found["state lineage"].startswith("is 00000000-")
    assert "changed: terraform_data.earlier_host" in found["canaries"]
    wanted = ("object atlas/changed", "object atlas/deleted", f"object {KEY}.tflock")
    assert {*wanted, "plan finds no changes"} <= found.keys()
    assert found["key reader"].startswith("other")


def test_a_missing_state_and_a_missing_key_are_wrong_data(drilled):
    def delete(bucket):
        bucket.subject.s3.delete(bucket.spec.key)
        acts.delete_of(bucket.bucket, "keys", "reader")

    found = acts.broken(drilled(after_import(delete)))
    assert f"object {KEY}" in found
    assert {"the read-only key reads", "plan with the read-only key"} <= found.keys()
    assert found["key reader"].startswith("gone")


@pytest.fixture(scope="module")
def living(pytestconfig, fleet, drill_project, tmp_path_factory):
    """A bucket that no test of this module loses, beside the one that is lost."""
    stage, (spec,) = session_of(pytestconfig), fleet.buckets
    drill = stage.new_drill(Planned(spec, "native"))
    scratch, name = tmp_path_factory.mktemp("living"), f"l{name_in(drill_project.project)[-60:]}"
    lost = stage.new_bucket(drill_project, spec, drill, scratch)
    made = BucketUnderDrill(drill_project, spec, lost.s3, lost.tofu, drill, scratch, name=name)
    made.deploy()
    yield made
    made.remove()


def test_an_export_comes_back_beside_its_living_original_and_incus_takes_no_half_of_it(
    living, drill_project, fleet, tmp_path, pytestconfig
):
    taken = living.back_up()
    assert oct(taken.tarball.path.stat().st_mode & 0o777) == "0o600"
    (spec,) = fleet.buckets
    own = spec.model_copy(update={"name": living.bucket.name})
    drill = session_of(pytestconfig).new_drill(Planned(spec, "native", "existing"))
    other = BucketUnderDrill(drill_project, own, living.s3, living.tofu, drill, tmp_path)
    half = taken.tarball.path.read_bytes()[: taken.tarball.file_bytes // 2]
    with pytest.raises(IncusError):
        other.bucket.import_from(iter([half]), "half")
    assert not other.bucket.exists()
    try:
        existing = other.read_existing(taken.tarball.path, taken.taken_at)
        other.import_export(existing)
        other.wait_until_healthy()
        other.must_hold(existing)
        assert {check.outcome for check in drill.checks} == {"held"}
        assert sorted(drill.ledger.recovered) == [f"object {KEY}", f"object {KEY}.tflock"]
        assert not {key.access for key in other.keys} & {key.access for key in living.keys}
        assert (drill.counted["states"], drill.counted["resources"]) == (1, 2)
        serial = drill.counted["in the serial of the state"]
        more = drill.counted | {"objects": 9, "in the serial of the state": serial * 2}
        drill.last_proof = SimpleNamespace(counted=more, begun=taken.taken_at, run="older")
        with pytest.raises(WrongData, match=f"{serial} in the serial of the state, the last proof"):
            other.must_hold(existing)
        drill.last_proof = None
        assert list(tmp_path.glob("*.tar")) == []
        living.wait_until_healthy()
        acts.delete_of(other.bucket, "keys", "reader")
        other.subject.s3.request("PUT", "uninvited", data=b"x")
        with pytest.raises(WrongData, match=r"object uninvited: is 1 bytes.*was \(absent\)"):
            other.must_hold(existing)
    finally:
        other.remove()


def test_nothing_is_applied_over_a_state_of_real_infrastructure(living):
    s3 = living.subject.s3
    state = s3.get(KEY)
    s3.request("PUT", KEY, data=state.replace(b'"terraform_data"', b'"incus_instance"'))
    for act in (living.subject.apply, living.subject.leave_lock):
        with pytest.raises(CouldNotLook, match="holds incus_instance.*nothing is planned"):
            act()
    s3.request("PUT", KEY, data=state)


def test_objects_of_odd_names_and_many_pages(living):
    bucket = S3(living.s3, living.bucket.name, living.subject.admin)
    names = ["a b/c+d", "ümlaut/=&?", *(f"many/{number:04}" for number in range(1005))]
    for name in names:
        bucket.request("PUT", name, data=name.encode())
    assert set(bucket.objects()) == {*names, KEY}
    assert bucket.get("ümlaut/=&?") == "ümlaut/=&?".encode()
    bucket.close()
