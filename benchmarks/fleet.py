"""The whole fleet: `pytest drills -n 2` on a warm lab, against the same by a shell script.

The script does one recovery for each drill that pytest collects, serially, as a person would; what
a drill does beyond a recovery (write and look for data, prove what is gone, read tarballs to their
end, audits) it leaves out, so that it is faster than the same work would be. Which drills it has no
recovery for is in the results.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import ROOT, ratios
from benchmarks.stage import stage
from fixtures.errors import UsageError
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import read_evidence
from fixtures.lab.lab import Lab
from fixtures.lab.settings import BUCKET_POOL

WHOLE = "whole fleet, warm lab, all drills with -n 2"
UNFETCHED = "could not be fetched"
"""Part of the reason for which a drill is skipped that lacks its vendor's package."""
COLLECTED = re.compile(r"^drills/(\w+)\.py::(\w+)(?:\[(.+)\])?$")


def run(bench):
    """Take the fleet through all drills, and the script through its recoveries."""
    if os.environ.get("PYTEST_ADDOPTS"):
        raise UsageError("PYTEST_ADDOPTS would change what is measured; nothing was started")
    with _filled_lab(), stage() as place:
        plan = list(recoveries(place.fleet, collected()))
        missing = [name for name, what in plan if what is None]
        bench.report(f"{bench.name}: {len(plan)} tests, {len(missing)} are left out by the script")
        wanted = [what for _, what in plan if what is not None]
        if bench.quick:
            wanted = wanted[::10]
        skipped = set()
        rounds = bench.side_by_side(
            {
                "drills": lambda: drills(bench.quick, skipped),
                "script": lambda: script(place, [w for w in wanted if w.split()[1] not in skipped]),
            },
            recoveries=len(wanted),
            left_out=", ".join(missing),
        )
    about = f"the same by fleet.sh, serially ({len(wanted)} recoveries; nothing is verified)"
    bench.figure(WHOLE, about, "ratio", ratios(rounds, "drills", "script"), at_most=0.35)
    bench.figure(WHOLE, "the goal", "s", [one["drills"] for one in rounds], at_most=100)
    bench.figure("the script", "itself", "s", [one["script"] for one in rounds])


@contextmanager
def _filled_lab():
    """The lab with its whole source project; gone afterwards, unless it was up before."""
    by_hand = [sys.executable, "-m", "fixtures.plugin.lab"]
    was_up = Lab().status().state == "up"
    subprocess.run([*by_hand, "up"], check=True, cwd=ROOT)
    try:
        yield
    finally:
        if not was_up:
            subprocess.run([*by_hand, "down"], check=True, cwd=ROOT)


def collected():
    """Ids of all drills and audits, as pytest collects them."""
    argv = [sys.executable, "-m", "pytest", "drills", "--collect-only", "-q", "-o", "addopts="]
    done = subprocess.run(
        [*argv, "--import-mode=importlib"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def recoveries(fleet, ids):
    """Each test with the line of the script that recovers the same; None where it has none."""
    for name in ids:
        found = COLLECTED.match(name)
        if found is None:
            raise ValueError(f"pytest collected {name!r}, which is no drill")
        file, test, params = found[1], found[2], found[3] or ""
        subject = next((s.name for s in fleet.services if params.startswith(s.name + "-")), "")
        yield name, _recovery(file, test, subject, params)


def _recovery(file, test, subject, params):
    what = file.removeprefix("test_restore_from_").removeprefix("test_")
    if "-existing" in params:
        kind = "snapshot" if "snapshot" in test else "file"
        return f"existing_{kind} {subject}" if subject and "native" not in test else None
    if what == "full_rebuild":
        return f"full_rebuild {'with' if 'with_data' in test else 'without'}"
    if what == "restore_state_bucket":
        return "bucket -"
    if not subject or what.startswith(("backup_regime", "runbook", "key_compromise")):
        return None
    if params.endswith("new-volume"):
        return f"new_volume {subject}"
    return f"{'native' if what == 'native_export' else what} {subject}"


def drills(quick, skipped):
    """Return the seconds of the whole run, from the start of pytest to its end.

    `skipped` gets the services whose software could not be fetched: the script has no image of them
    either.

    Raises:
        RuntimeError: a drill that was made did not recover.
    """
    with tempfile.TemporaryDirectory(prefix="atlas-bench-") as reports:
        argv = [sys.executable, "-m", "pytest", "drills", "-n", "2", "-q", f"--reports={reports}"]
        argv += ["-k", "snapshot and rehearsal"] if quick else []
        begun = time.monotonic()
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
        found = [read_evidence(one) for one in Path(reports).glob("*/evidence.json")]
    if len(found) != 1 or found[0].errors or not found[0].drills:
        raise RuntimeError(f"drills ended with {done.returncode}: {done.stdout[-2000:]}")
    bad = []
    for drill in found[0].drills:
        verdict = judge_drill(drill)
        if verdict is Verdict.NOT_VERIFIED and UNFETCHED in (drill.reason or ""):
            skipped.add(drill.service)
        elif verdict is not Verdict.RECOVERED:
            bad.append(f"{drill.id}: {drill.reason}")
    if bad:
        raise RuntimeError(f"drills that did not recover: {'; '.join(bad)}")
    return seconds


def script(place, plan):
    """Return the seconds of the script."""
    scratch = place.scratch / "script"
    shutil.rmtree(scratch, ignore_errors=True)
    for part in ("files", "backups", "gnupg"):
        (scratch / part).mkdir(parents=True, mode=0o700)
    (scratch / "plan").write_text("".join(f"{line}\n" for line in plan))
    (scratch / "services").write_text("".join(f"{row}\n" for row in _services(place.fleet)))
    (scratch / "passphrase").write_text("a passphrase of this benchmark alone\n")
    _lay_out_backups(place, scratch / "backups")
    about = {
        "PLAN": str(scratch / "plan"),
        "SERVICES": str(scratch / "services"),
        "SCRATCH": str(scratch / "files"),
        "BACKUPS": str(scratch / "backups"),
        "GNUPGHOME": str(scratch / "gnupg"),
        "PASSPHRASE": str(scratch / "passphrase"),
        "POOL": place.fleet.pool,
        "BUCKET_POOL": BUCKET_POOL,
        "SOURCE": place.fleet.source_project,
    }
    begun = time.monotonic()
    place.typed([str(Path(__file__).parent / "runbook" / "fleet.sh")], **about)
    return time.monotonic() - begun


def _services(fleet):
    for one in fleet.services:
        data = one.volumes[0]
        how = [
            one.backups[kind].consistency if kind in one.backups else "stop"
            for kind in ("snapshot", "tarball")
        ]
        row = (one.name, one.instance, data.name, one.image, data.path, data.device)
        yield " ".join(map(str, (*row, one.ports[0].port, *how)))


def _lay_out_backups(place, directory):
    """Export each source volume under a name that the script knows; not measured."""
    for one in place.fleet.services:
        name = one.volumes[0].name
        argv = ["incus", "storage", "volume", "export", place.fleet.pool, name]
        argv += [f"{directory}/{name}.tar", "--compression", "gzip", "--volume-only"]
        place.typed([*argv, "--project", place.fleet.source_project])
