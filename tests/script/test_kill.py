"""Killed at 12 moments of a run: services run again, files are whole or absent, no plaintext."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.script.conftest import Place, Running, place_in

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PLACES, MOMENTS = 4, 3
MARKER = os.urandom(64)
"""Incompressible: zstd leaves it as it is."""


@pytest.fixture(scope="module")
def places(machine):
    def made(number):
        place = place_in(machine, f"kill{number}")
        place.make("mq")
        place.services = ["mq mq-data snapshot=stop/7 encrypted=stop/7 unit=mosquitto"]
        blob = os.urandom(1 << 20) + MARKER
        (place.home / "blob").write_bytes(blob)
        where = f"/backup/{place.name}/blob"
        place.incus("file", "push", where, "mq/mosquitto/data/blob")
        # The positive control: in a plaintext export the marker is found.
        plain = ("mq-data", f"/backup/{place.name}/plain", "--compression", "zstd")
        place.incus("storage", "volume", "export", "local", *plain)
        assert place.holding(MARKER) == [place.home / "blob", place.home / "plain"]
        for name in ("blob", "plain"):
            (place.home / name).unlink()
        return place

    with ThreadPoolExecutor(PLACES) as pool:
        return list(pool.map(made, range(PLACES)))


def kill(place, what, after):
    """Kill a run and check what is left; return where it was hit."""
    whole_before = set(place.files())
    running = Running(place)
    begun = time.monotonic()
    time.sleep(after)
    was_over = running.process.poll() is not None
    noted = bool(place.notes)
    partial = bool(place.unfinished())
    running.send(what)
    hit = f"{what.name} after {time.monotonic() - begun:.2f} s"
    assert place.holding(MARKER) == [], hit
    status, said = running.end()
    if what == signal.SIGKILL:
        assert place.holding(MARKER) == [], hit
        place.back_up("--start-stopped")
    elif not was_over and status != 0:
        assert status == 128 + what, f"{hit}: {said}"
        assert place.unfinished() == [], hit
    assert place.state("mq") == "RUNNING", f"{hit}: {said}"
    assert place.notes == [], f"{hit}: {said}"
    assert whole_before <= set(place.must_be_whole()), hit
    return "over" if was_over else "stopped" if noted else "writing" if partial else "else"


def test_killed_at_any_moment(places, record_property):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    begun = time.monotonic()
    with ThreadPoolExecutor(PLACES) as pool:
        list(pool.map(Place.back_up, places))
    length = time.monotonic() - begun
    # One moment in each part of a run, so that every phase is met.
    moments = [(n + chance.random()) / (PLACES * MOMENTS) for n in range(PLACES * MOMENTS)]
    kills = [(SIGNALS[n % 4], moment * length) for n, moment in enumerate(moments)]
    chance.shuffle(kills)

    def through(number):
        return [kill(places[number], *moment) for moment in kills[number::PLACES]]

    with ThreadPoolExecutor(PLACES) as pool:
        hits = [hit for hits in pool.map(through, range(PLACES)) for hit in hits]
    met = {hit: hits.count(hit) for hit in sorted(set(hits))}
    print(f"a run takes {length:.1f} s; hit: {met}; in all {time.monotonic() - begun:.1f} s")
    assert met.get("stopped", 0) >= PLACES * MOMENTS // 8
    assert met.get("over", 0) <= PLACES * MOMENTS // 2
    for place in places:
        place.back_up()
        assert place.unfinished() == []
        assert place.holding(MARKER) == []
