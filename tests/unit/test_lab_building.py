"""Building in the foreground: what is built, what is told meanwhile, and that Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from fixtures.errors import LabError
from fixtures.lab import commands, images, settings
from fixtures.lab.cache import Cache, Progress


def slow(*_):
    commands.run(["sleep", "60"], doing="it sleeps", hint="wake it")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """What `build` has asked for; nothing is built."""
    asked = []
    monkeypatch.setattr(images, "_lab_rootfs", lambda _cache, name, _mirrors: asked.append(name))
    monkeypatch.setattr(images, "_go_tool", lambda _cache, row, _m: asked.append(row["module"]))
    monkeypatch.setattr(images.rootfs, "from_apt", lambda override: None)
    return asked


def config(tmp_path, **settled):
    return settings.Settings(cache=tmp_path, state=tmp_path, images=(), **settled)


@pytest.mark.parametrize("tofu", [True, False])
def test_opentofu_is_built_where_it_is_wanted(built, tmp_path, tofu):
    wanted = config(tmp_path, tofu=tofu)
    images.build(Cache(tmp_path, Progress(lambda _: None)), wanted)
    assert ("tofu" in built) == tofu
    assert images.plan(Cache(tmp_path, Progress(lambda _: None)), wanted).has_tofu is not tofu


def test_a_signal_to_this_process_alone_ends_the_builders(built, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_lab_rootfs", slow)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        images.build(Cache(tmp_path, Progress(lambda _: None)), config(tmp_path))
    assert time.monotonic() - begun < 10


def test_what_is_still_to_come_is_told(built, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_lab_rootfs", lambda *_: time.sleep(1))
    monkeypatch.setattr(images, "TOLD_SECONDS", 0.3)
    lines = []
    images.build(Cache(tmp_path, Progress(lines.append)), replace(config(tmp_path), tofu=False))
    assert any("still to come: incus-7.0-" in line for line in lines)


def test_a_failure_is_told_while_others_are_built(built, tmp_path, monkeypatch):
    def fail(*_):
        raise LabError("no mirror", hint="find one")

    monkeypatch.setattr(images, "_lab_rootfs", fail)
    with pytest.raises(LabError, match="no mirror"):
        images.build(Cache(tmp_path, Progress(lambda _: None)), config(tmp_path))
