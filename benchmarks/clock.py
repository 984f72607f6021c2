"""The clock: what a drill reports, against an observer that asks the health port from outside.

A drop-in of systemd makes the service start later, so that there are RTOs from 1 s to 60 s. What
is compared is the time from the loss to the first healthy answer: what comes after it, the
verification, happens to a service that answers, and cannot be seen from outside.
"""

from __future__ import annotations

import time

from benchmarks.figures import Bench
from benchmarks.observer import next_outage, observing
from benchmarks.rto import HEALTH, PORT, SERVICE, again
from benchmarks.stage import Stage, recover, stage
from fixtures.recovery.backup import Backup
from fixtures.recovery.service import ServiceUnderDrill

DELAYS = (0, 1, 3, 8, 20, 58)
"""Seconds that the service's start takes longer."""

QUICK_DELAYS = (0, 1)


def run(bench: Bench) -> None:
    """Recover from a snapshot with each delay, and compare."""
    apart, total = [], []
    with stage([SERVICE]) as place:
        service = place.service(SERVICE, "snapshot")
        service.deploy()
        out = place.scratch / "observed"
        with observing(place.cgroup(service.spec), PORT, HEALTH, out):
            for delay in QUICK_DELAYS if bench.quick else DELAYS:
                _start_later(service, delay)
                backup = service.back_up("snapshot")
                for number in range(bench.repeat):
                    seen = _recover(place, service, backup)
                    sample = bench.sample(delay=delay, round=number, **seen)
                    apart.append(1000 * abs(sample["reported"] - sample["observed"]))
                    total.append(sample["rto"])
    bench.figure(
        f"RTOs of {min(total):.1f} s to {max(total):.1f} s: reported outage",
        "an observer outside, which asks the health port every few ms",
        "ms apart",
        apart,
        at_most=50,
        judged="max",
    )


def _start_later(service: ServiceUnderDrill, delay: float) -> None:
    place = f"/etc/systemd/system/{service.spec.unit}.service.d"
    drop_in = f"[Service]\nExecStartPre=/bin/sleep {delay}\nTimeoutStartSec=300\n"
    service.instance.must_exec(["mkdir", "-p", place])
    service.instance.push(f"{place}/later.conf", drop_in.encode())
    service.instance.must_exec(["systemctl", "daemon-reload"])


def _recover(place: Stage, service: ServiceUnderDrill, backup: Backup) -> dict[str, float]:
    """One drill from a snapshot; its clock, and the outage that the observer saw."""
    service.drill = drill = again(service.drill)
    time.sleep(1.0)
    begun = time.monotonic()
    recover(service, backup)
    phases = {phase.name: phase for phase in drill.watch.phases}
    outage = next_outage(place.scratch / "observed", begun)
    healthy = phases["healthy"].begin + phases["healthy"].seconds
    return {
        "reported": healthy,
        "observed": outage.seconds,
        "early": outage.last_good - begun,
        "late": begun + healthy - outage.first_good,
        "rto": drill.watch.elapsed or 0.0,
    }
