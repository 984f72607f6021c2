"""Fleets of many small services, written for the benchmark of scale."""

from __future__ import annotations

from pathlib import Path

HEAD = """\
# Made by benchmarks/scale_fleet.py: {count} services of one kind.
name: scale-{count}
pool: local
source_project: scale-{count}
targets:
  snapshot: {{title: Single service (snapshot), seconds: 900, source: assumed}}
services:
"""

SERVICE = """\
  - name: svc{number:03d}
    kind: mosquitto
    instance: svc{number:03d}
    unit: mosquitto
    image: mosquitto
    criticality: low
    volumes:
      - name: svc{number:03d}-data
        path: /mosquitto/data
        size: 64MB
        owner: {{user: mosquitto, uid: 100, group: mosquitto, gid: 101}}
        mode: "0750"
    ports:
      - port: 1883
    health: {{protocol: mqtt, port: 1883}}
    backups:
      snapshot:
        consistency: stop
        schedule: "@daily"
        retention: 7d
        why: mosquitto.db is written at autosave and at a clean stop
"""


def write(count: int, directory: Path) -> Path:
    """A fleet file of `count` services `svc001`, `svc002`, ..., each with its own volume."""
    path = directory / f"scale-{count}.yaml"
    services = "".join(SERVICE.format(number=number) for number in range(1, count + 1))
    path.write_text(HEAD.format(count=count) + services, encoding="utf-8")
    return path
