"""RTO overhead: a drill against the same recovery typed by a shell script with the `incus` client.

Both recover the same service with the same data in the same project, in turn. Both begin with the
loss. The script needs no health check: an observer outside sees the first healthy answer of both.
The drill is judged by its own clock, which has to notice that answer by itself.
"""

import hashlib
import time

from benchmarks.figures import ratios
from benchmarks.observer import next_outage, observing
from benchmarks.stage import BODIES, fill, stage
from fixtures.evidence.record import Verdict
from fixtures.recovery.drill import Drill

GIB = 2**30
SERVICE, PORT, HEALTH = "prometheus", 9090, "/-/ready"
SETTLE_SECONDS = 1.0
"""Pause before each recovery: what the one before left to do is not charged to the next."""
RECOVERIES = (("tarball", 0, 0.8), ("tarball", GIB, 0.8), ("snapshot", 0, 1.0))
"""Scenario, bytes next to the data of some KiB, goal."""


def run(bench):
    """Measure the tarball's recovery, of little and of much data, and the snapshot's."""
    for scenario, weight, goal in RECOVERIES:
        weight = weight // 16 if bench.quick else weight
        with stage([SERVICE]) as place:
            rounds = _rounds(bench, place, scenario, weight)
        script = f"the same typed with `incus`, {scenario}.sh"
        size = f"{weight / GIB:.2g} GiB" if weight else "some KiB"
        about = f"RTO of a {scenario} drill, {size}, loss to "
        healthy, verified = (ratios(rounds, moment, "script") for moment in ("healthy", "rto"))
        bench.figure(about + "first healthy answer", script, "ratio", healthy, at_most=goal)
        script += " (which verifies nothing)"
        bench.figure(about + "verified data", script, "ratio", verified)


def _rounds(bench, place, scenario, weight):
    service = place.service(SERVICE, scenario)
    service.deploy()
    if weight:
        fill(service, weight)
    backup = service.back_up(scenario)
    out = place.scratch / "observed"
    with observing(place.cgroup(service.spec), PORT, HEALTH, out):
        rounds = []
        for number in range(bench.repeat):
            order = [_drill, _script] if number % 2 else [_script, _drill]
            seen = {}
            for act in order:
                time.sleep(SETTLE_SECONDS)
                seen |= act(place, service, backup, out)
            rounds.append(bench.sample(scenario=scenario, weight=weight, round=number, **seen))
    return rounds


def _script(place, service, backup, out):
    """One recovery by the script; seconds from its first command to the first healthy answer."""
    service.subject.close()
    service.instance.close_shell()
    more = {"SNAPSHOT": backup.name}
    if backup.tarball is not None:
        file = backup.tarball.path
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        file.with_name(file.name + ".sha256").write_text(f"{digest}  {file}\n")
        more = {"FILE": str(file)}
    begun = place.script(f"{backup.kind}.sh", service.spec, **more)
    service.wait_until_healthy()
    return {"script": next_outage(out, begun).first_good - begun}


def _drill(place, service, backup, out):
    """One recovery by the drill's own verbs; its clock, and what the observer saw."""
    about = service.drill
    # Of the same thing, with a clock and a record of its own.
    drill = Drill(about.subject, about.scenario, about.target, about.project, about.criticality)
    service.drill = drill
    drill.take_backup(backup, software=service.subject.version())
    begun = time.monotonic()
    BODIES[backup.kind](service.drill, service, backup)
    # They come after the clock, and take 10 s each.
    drill.later_checks.clear()
    record = drill.record()
    if record.verdict is not Verdict.RECOVERED or record.rto is None:
        raise RuntimeError(f"the drill ended as {record.verdict}: {record.reason}")
    phases = {phase.name: phase.begin + phase.seconds for phase in record.phases}
    seen = next_outage(out, begun)
    return {
        "healthy": phases["healthy"],
        "rto": record.rto,
        "observed_loss": seen.last_good - begun,
        "observed_healthy": seen.first_good - begun,
    }
