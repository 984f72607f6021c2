"""What a service says itself of its data, however old: whole, and each kind of damage seen red."""

import time
from datetime import UTC, datetime

from fixtures.lab.settings import from_environment
from fixtures.services import loki, prometheus
from fixtures.services.loki import chunk_of
from fixtures.services.mosquitto import CLIENT, MAGIC, _chunks
from fixtures.services.terraform_state import check_whole

DAY = 86400
ROT = 'f="$1"; printf rottenrotten | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) conv=notrunc'


def checks_of(service):
    found = {check.name: check for check in service.subject.check_whole()}
    print(*found.values(), sep="\n")
    return found


def must_be_whole(service):
    found = checks_of(service)
    assert {check.held for check in found.values()} == {True}
    return found


def broken(service):
    found = checks_of(service).items()
    return {name: check.detail for name, check in found if check.held is False}


def shell(service, script, *words):
    return service.instance.must_exec(["sh", "-ec", script, "sabotage", *words], timeout=60)


def restarted(service, script="", *words):
    """Do something while the service is stopped."""
    unit = service.spec.unit
    shell(service, f"systemctl stop {unit}; {script or ':'}; systemctl start {unit}", *words)
    service.subject.close()
    service.wait_until_healthy()


def test_a_chunk_of_an_old_block_of_prometheus(healthy):
    service = healthy("prometheus")
    first = int(time.time()) // 7200 * 7200 - 12 * DAY + 300
    # Metrics that have the same labels, as most of a target have.
    names = ("drill_old", "drill_old_too", "drill_old_again")
    old = [prometheus.build_series("old", name, 1, first, (15, 400)) for name in names]
    service.instance.push("/run/old.om", prometheus.openmetrics(old))
    make = "runuser -u prometheus -- promtool tsdb create-blocks-from openmetrics /run/old.om "
    restarted(service, make + "/prometheus")
    found = must_be_whole(service)["every sample of every block is read"]
    assert found.counts == {"samples of blocks": 3 * 400 + 2 * 2 * prometheus.HISTORY[1]}
    assert "3 blocks, 7 series in them" in found.detail
    items = {item.what: item.count for item in service.subject.list_items(datetime.now(UTC))}
    assert (items["series"], items["samples"]) == (6, 240)
    restarted(service, ROT, shell(service, "ls /prometheus/01*/chunks/000001 | tail -n 1").strip())
    ((name, detail),) = broken(service).items()
    assert name == "every sample of every block is read" and "checksum mismatch" in detail


def test_chunks_and_index_of_loki(healthy, monkeypatch):
    service, now = healthy("loki"), int(time.time())
    midnight = now // DAY * DAY - 6 * DAY
    # Half of the lines are of the day before.
    monkeypatch.setattr(loki, "HISTORY", (now - midnight + 700, 200))
    monkeypatch.setattr(loki, "FLUSH_SECONDS", 40.0)
    service.subject._push_to_chunks("last-week")
    # Its index is brought to the store when it stops.
    restarted(service)
    assert must_be_whole(service)["every line is read"].counts == {"log lines": 1560}
    chunk = f"/loki/{min(service.subject._chunk_files(), key=lambda path: chunk_of(path).start)}"
    there, content = "every chunk is there and whole", service.instance.pull(chunk)
    shell(service, 'rm "$1"', chunk)
    week_ago = time.strftime("%Y-%m-%d", time.gmtime(midnight - 1))
    assert f"a chunk of {week_ago} is gone" in broken(service)[there]
    service.instance.push(chunk, content)
    shell(service, ROT, chunk)
    assert "is damaged: its sum is another one" in broken(service)[there]
    service.instance.push(chunk, content)
    shell(service, 'touch -d "8 days ago" "$1"', chunk)
    for day in (midnight // DAY - 1, midnight // DAY):
        shell(service, f"rm -rf /loki/chunks/index/index_{day} /loki/tsdb-*/*/index_{day}")
    assert f"{chunk.removeprefix('/loki/')} is in no index" in broken(service)[there]
    index = shell(service, "ls /loki/chunks/index/*/*.tsdb.gz | head -n 1").strip()
    shell(service, ROT, index)
    assert "every index of chunks is whole" in broken(service)


def test_a_cut_database_of_mosquitto(healthy):
    service = healthy("mosquitto")
    whole = must_be_whole(service)["its database is whole"]
    assert whole.counts == {"sessions": 3, "retained messages": 9}
    assert "3 subscriptions, 18 queued messages" in whole.detail
    path, loaded = (
        service.subject.database,
        "sessions and retained messages of its database are loaded",
    )
    data, at = service.instance.pull(path), len(MAGIC) + 8
    for kind, chunk in _chunks(data):
        if kind == CLIENT:
            break
        at += 8 + len(chunk)
    # The broker takes a file that ends between two chunks for a whole one.
    service.instance.push("/run/cut", data[:at])
    restarted(service, f"cat /run/cut >{path}")
    assert "was to be retained, and is not" in broken(service)["its database is whole"]
    # It writes what it has loaded: what came after the cut is gone.
    service.instance.push("/run/whole", data)
    shell(service, f"cat /run/whole >{path}")
    assert "session atlas-drills-earlier" in broken(service)[loaded]
    shell(service, f"head -c -3 /run/whole >{path}")
    assert "it ends within a chunk" in broken(service)["its database is whole"]


def test_an_emptied_database_of_step_ca(healthy):
    service = healthy("step-ca")
    revoked = service.subject.issue("revoked").leaf.serial_number
    assert service.subject.revoke(revoked)
    entries, db = "every entry of its database is whole", "/home/step/.step/db"
    counts = must_be_whole(service)[entries].counts
    assert counts["certificates"] >= 3 and counts["revoked certificates"] == 1
    restarted(service, f"cp -a {db} /root/kept; rm -r {db}/*")
    made = "was made when the CA started: the backup held no database"
    assert made in broken(service)[entries]
    # What is on the disk is not what the CA has: it has forgotten what was revoked.
    shell(service, f"cp -a /root/kept/. {db}")
    assert str(revoked) in broken(service)["what is revoked stays revoked"]
    restarted(service, f"rm -r {db}/*; cp -a /root/kept/. {db}")
    must_be_whole(service)
    # Made in the second in which the CA was started, and before it.
    start = "systemctl show -P ExecMainStartTimestamp --timestamp=us+utc step-ca"
    shell(service, f'touch -d "$({start})" {db}/KEYREGISTRY')
    must_be_whole(service)
    shell(service, ROT, f"{db}/000000.vlog")
    assert "000000.vlog: the entry at byte" in broken(service)[entries]
    shell(service, f"cp -a /root/kept/. {db}; rm {db}/*.sst")
    assert "which its manifest names" in broken(service)[entries]


def test_files_of_alertmanager(healthy):
    service = healthy("alertmanager")
    silences, log = must_be_whole(service).values()
    path = "/var/lib/alertmanager/silences"
    whole = service.instance.pull(path)
    assert (silences.detail, log.detail) == ("6 silences in its file", "3 notifications in its log")
    shell(service, "cd /var/lib/alertmanager; for f in silences nflog; do truncate -s -7 $f; done")
    cut = broken(service)
    assert len(cut) == 2 and all("it ends within" in each for each in cut.values())
    service.instance.push("/run/whole", whole)
    restarted(service, f"rm {path}")
    shell(service, f"cat /run/whole >{path}")
    (detail,) = broken(service).values()
    assert "6 of them are not loaded" in detail


def test_a_page_of_the_database_and_a_plan_of_atlantis(healthy):
    service = healthy("atlantis")
    database, plans = must_be_whole(service).values()
    assert database.detail == "6 locks, 0 pull requests"
    assert plans.detail.startswith("6 plans, ")
    shell(service, "f=$(find /atlantis-data/repos -name '*.tfplan' | head -n 1); truncate -s -9 $f")
    assert "every plan is whole" in broken(service)
    zero = "dd if=/dev/zero of=/atlantis-data/atlantis.db bs=4096 seek=3 count=1 conv=notrunc"
    shell(service, zero)
    pages = broken(service)["every page and entry of its database is whole"]
    assert "page 3 is damaged" in pages


BREAK_AN_INDEX = """
import sqlite3
database = sqlite3.connect("/var/lib/grafana/grafana.db")
database.execute("CREATE INDEX broken ON object (kind)")
database.execute("PRAGMA writable_schema = ON")
sql = "CREATE INDEX broken ON object (key)"
database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'broken'", (sql,))
database.commit()
"""


def test_a_broken_index_of_grafana(healthy):
    service = healthy("grafana")
    assert must_be_whole(service)["every dashboard opens by its uid"].counts["dashboards"] >= 4
    restarted(service, 'python3 -c "$1"', BREAK_AN_INDEX)
    found = broken(service)
    assert list(found) == ["PRAGMA integrity_check of grafana.db is ok"]
    assert "missing from index broken" in next(iter(found.values()))


def test_an_object_of_the_bucket(make_bucket):
    _, bucket = make_bucket()
    bucket.subject.s3.request("PUT", "more", data=b"whole content")
    assert all(check.held for check in check_whole(bucket.subject))
    pool = from_environment().state / "lab/lib/storage-pools" / bucket.spec.pool / "buckets"
    (file,) = pool.glob(f"*{bucket.bucket.name}/data/more")
    file.write_bytes(b"other content")
    objects, state = check_whole(bucket.subject)
    assert objects.held is False and "object more has other content" in objects.detail
    assert state.held
