"""What the printed commands give: drills work, and the server itself protects the source."""

import contextlib
import io
import subprocess
from dataclasses import replace

import pytest
import requests
import urllib3

from fixtures.errors import IncusError
from fixtures.incus.inventory import inventory
from fixtures.incus.project import KEEP_KEY, PreparedProject, run_lock
from fixtures.incus.tunnel import Relay
from fixtures.plugin import certificate
from tests.guard.test_every_route import PATHS
from tests.remote.server import PORT, drill, write_conf, write_pair
from tests.remote.test_remote_drills import NEWEST, SOURCE

DRILLS = ("drill-a", "drill-b")
IN_OURS = (f"--drill-projects={DRILLS[0]}",)
ROUTE = "authorization.client.tls-restricted"
PROFILE = ("profiles", "default")
VOLUMES = ("storage-pools", "local", "volumes", "custom")


def typed(far, *options):
    """Type the printed commands on the server, as its administrator does."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        arguments = [*options, f"--projects={','.join(DRILLS)}", f"--source={SOURCE}"]
        assert certificate.main(arguments) == 0
    # The server sees this directory as /var/lib/incus.
    text = printed.getvalue().replace(f"{far.lab.state_dir}/lib", "/var/lib/incus")
    pid = str(far.lab._daemon().pid())
    enter = ["nsenter", "-t", pid, "-m", "-n", "-p", "env", "INCUS_CONF=/tmp/admin"]
    done = subprocess.run(
        [*enter, "bash", "-e", "-c", f"cd /var/lib/incus; {text}"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def forget(far):
    """Take back what was typed."""
    server = far.owner
    if server.has("authorization_router") or ROUTE in (server.server.get("config") or {}):
        server.patch(body={"config": {ROUTE: "", "authorization.scriptlet": ""}})
    for trusted in server.get_list("certificates"):
        if trusted["name"].startswith(certificate.NAME):
            server.delete("certificates", trusted["fingerprint"])
    for name in far.projects("drill-"):
        server.delete("projects", name)


@pytest.fixture
def confined(far, tmp_path):
    """A client's configuration: `drills` may drill, `reads` may read; not yet trusted."""
    pinned = (far.conf / "servercerts" / "far.crt").read_text()
    conf = write_conf(tmp_path / "conf", {"drills": {}, "reads": {}}, pinned)
    write_pair(conf / "clientcerts" / "reads")
    seen = far.lab.state_dir / "lib"
    (seen / "client.crt").write_text((conf / "client.crt").read_text())
    (seen / "reader.crt").write_text((conf / "clientcerts" / "reads.crt").read_text())
    yield replace(far, conf=conf)
    forget(far)


def must_be_released(far):
    """Raise unless the prepared projects are there, empty and free."""
    assert far.projects("drill-") == list(DRILLS)
    for name in DRILLS:
        view = far.owner.for_project(name)
        assert view.get_list("instances") == []
        assert view.get_list(*VOLUMES) == []
        assert view.get(*PROFILE)["config"] == {}


@contextlib.contextmanager
def unguarded(far):
    """Yield a session with the drills' certificate and no guard, and the server's address."""
    urllib3.disable_warnings()
    session = requests.Session()
    session.trust_env = False
    session.verify = False
    session.cert = (str(far.conf / "client.crt"), str(far.conf / "client.key"))
    with Relay(lambda: far.lab.dial(PORT)) as relay, session:
        yield session, f"https://127.0.0.1:{relay.port}"


def with_scriptlet(far):
    if not far.owner.has("direct_backup"):
        pytest.skip("Incus 6.0 has no authorization by scriptlet")
    typed(far, f"--scriptlet={far.lab.state_dir}/lib/client.crt")


@NEWEST
def test_one_certificate_drills_and_reads_by_the_scriptlet(confined, tmp_path):
    with_scriptlet(confined)
    before = inventory(confined.owner, SOURCE)
    options = ("-m", "existing", "--provision=copy", f"--source={SOURCE}")
    done, record = drill(confined, tmp_path / "r", *IN_OURS, *options, target="drills")
    assert {str(one.verdict) for one in record.drills} == {"recovered"}, done.stdout
    assert len(record.drills) == 5
    assert done.returncode == 0, done.stdout
    assert inventory(confined.owner, SOURCE) == before
    must_be_released(confined)


def test_a_pair_of_certificates_drills_what_it_may(confined, tmp_path):
    typed(confined)
    before = inventory(confined.owner, SOURCE)
    options = ("-k", "mosquitto and existing", "--reader=reads", "--provision=image")
    done, record = drill(confined, tmp_path / "r", *IN_OURS, *options, target="drills")
    verdicts = {one.scenario: one for one in record.drills}
    snapshot = verdicts["snapshot"]
    assert str(snapshot.verdict) == "not verified", done.stdout
    assert "Incus copies between projects only for a client that may read both" in done.stdout
    assert "permission" in snapshot.reason
    good = confined.owner.has("direct_backup")
    assert str(verdicts["tarball"].verdict) == ("recovered" if good else "wrong data"), done.stdout
    assert done.returncode == 1
    assert inventory(confined.owner, SOURCE) == before
    must_be_released(confined)


@NEWEST
def test_a_source_that_nobody_may_read_is_no_empty_source(confined, tmp_path):
    typed(confined)
    options = ("-k", "mosquitto and existing")
    done, record = drill(confined, tmp_path / "r", *IN_OURS, *options, target="drills")
    assert done.returncode == 1
    (error,) = record.errors
    assert error.startswith(f"the source project {SOURCE} may not be read by this client")
    assert "--reader=REMOTE" in error


def real(path, names):
    """Return the path with the names of what the source really has."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        if parts[number] == "local" and parts[number - 1] in names:
            parts[number] = names[parts[number - 1]]
    return "/".join(parts)


INSTANCE, VOLUME = "/1.0/instances/mosquitto01", "/1.0/storage-pools/local/volumes/custom"
CHANGES = {
    "stop": ("PUT", f"{INSTANCE}/state", {"action": "stop", "force": True}),
    "exec": ("POST", f"{INSTANCE}/exec", {"command": ["true"]}),
    "file": ("POST", f"{INSTANCE}/files?path=/evil", None),
    "config": ("PATCH", INSTANCE, {"config": {"user.evil": "1"}}),
    "snapshot": ("POST", f"{VOLUME}/mosquitto01-data/snapshots", {"name": "evil"}),
    "volume": ("DELETE", f"{VOLUME}/step-ca01-data", None),
    "project": ("PATCH", f"/1.0/projects/{SOURCE}", {"config": {"user.evil": "1"}}),
    "prepared project": ("PATCH", "/1.0/projects/drill-a", {"config": {"restricted": "false"}}),
    "server": ("PATCH", "/1.0", {"config": {"user.evil": "1"}}),
}


@pytest.mark.parametrize("trusted", [with_scriptlet, typed], ids=["scriptlet", "pair"])
def test_without_any_guard_the_server_refuses_to_change_the_source(confined, trusted):
    trusted(confined)
    before = inventory(confined.owner, SOURCE)
    names = {"instances": "mosquitto01", "custom": "mosquitto01-data", "storage-pools": "local"}
    every = sorted({real(path, names) for path in PATHS} - {"/"})
    assert len(every) > 100
    passed = []
    with unguarded(confined) as (session, address):
        for path in every:
            for verb in ("POST", "PUT", "PATCH", "DELETE"):
                options = {"params": {"project": SOURCE}, "json": {}, "timeout": 30}
                answer = session.request(verb, f"{address}{path}", **options)
                if answer.ok:
                    passed.append(f"{verb} {path}: {answer.text[:80]}")
        # Well-formed changes are forbidden, not just malformed.
        for what, (verb, path, body) in CHANGES.items():
            query = "" if "/projects/" in path else f"{'&' if '?' in path else '?'}project={SOURCE}"
            url = f"{address}{path}{query}"
            assert session.request(verb, url, json=body, timeout=30).status_code == 403, what
    assert passed == []
    assert inventory(confined.owner, SOURCE) == before


@NEWEST
def test_a_prepared_project_has_one_run_at_a_time_and_keeps_what_is_to_be_seen(
    confined, monkeypatch
):
    typed(confined)
    first, second = (PreparedProject(confined.owner, f"run-{n}", "drill-a", "far:") for n in (1, 2))
    with run_lock("run-1"):
        view = first.create("local")
        with pytest.raises(IncusError, match=r"drill-a is in use by run run-1 on .*untouched"):
            second.create("local")
    # Its lock is free: that run is dead, and what it left is removed.
    view.post(*VOLUMES, body={"name": "left", "type": "custom"})
    second.create("local")
    assert not first.exists()
    assert "incus profile unset far:default user.atlas-drills.keep" in second.keep()
    with pytest.raises(IncusError, match="what run run-2 kept for inspection; it is untouched"):
        first.create("local")
    profile = view.get(*PROFILE)
    config = {key: value for key, value in profile["config"].items() if key != KEEP_KEY}
    view.put(*PROFILE, body={**profile, "config": config})
    first.create("local")
    first.delete()
    must_be_released(confined)
    free = second._profile()
    first.create("local")
    monkeypatch.setattr(second, "_profile", lambda: free)
    with pytest.raises(IncusError, match="in use by a run that claimed it at this moment"):
        second.create("local")


@NEWEST
def test_a_project_that_is_not_prepared_is_refused(confined):
    server = confined.owner
    server.post("projects", body={"name": "drill-x", "config": {"features.images": "false"}})
    with pytest.raises(IncusError) as refused:
        PreparedProject(server, "run-1", "drill-x").create("local")
    assert str(refused.value) == (
        "project drill-x is not prepared for drills: it lacks user.atlas-drills.standing=true, "
        "lacks restricted=true, lacks restricted.devices.nic=block, "
        "lacks restricted.devices.disk=managed; nothing in it was touched\n"
        "HINT: ./run certificate prints the commands that make such a project"
    )
    with pytest.raises(IncusError, match="drill-gone is not there, or this certificate may not"):
        PreparedProject(server, "run-1", "drill-gone").create("local")
