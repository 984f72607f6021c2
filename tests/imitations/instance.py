"""Runs an imitation on loopback, and stands for the instance around it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from fixtures.errors import NotFound
from fixtures.fleet.load import load_fleet
from fixtures.incus.instance import CommandResult

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "files"


def spec_of(name, data=None):
    """Return the entry of a service in the fleet of the runbook, with its volume at `data`."""
    spec = load_fleet(ROOT / "fleets/atlas.yaml").service(name)
    if data is None:
        return spec
    volume = spec.volumes[0].model_copy(update={"path": str(data)})
    return spec.model_copy(update={"volumes": (volume,)})


class Program:
    """An imitation over a data directory."""

    def __init__(self, data, *arguments):
        self.data, self.arguments = data, arguments
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.env: Mapping[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self):
        script, *words = self.arguments
        argv = [sys.executable, str(FILES / script), *words, str(self.data), str(self.port)]
        env = {**os.environ, **self.env}
        self.process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.process.kill()
        _, errors = self.process.communicate(timeout=20)
        self.process = None
        raise AssertionError(errors.decode())

    def stop(self, how=signal.SIGTERM):
        if self.process is not None and self.process.stderr is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=20)
            self.process.stderr.close()
            self.process = None


class Loopback:
    """What a service class sees of an instance: the program is its unit, `data` its volume."""

    name = "imitation01"

    def __init__(self, program):
        self.program = program
        self.pushed: dict[str, tuple[bytes, int]] = {}

    def exec(self, argv, *, timeout=30):
        return CommandResult(tuple(argv), 1, "", "no such program here")

    def must_exec(self, argv, *, timeout=30):
        if argv[0] == "systemctl":
            {"stop": self.program.stop, "start": self.program.start}[argv[1]]()
            return ""
        if argv[0] == "install":
            argv = ["mkdir", "-p", *(word for word in argv if word.startswith("/"))]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=timeout)
        return done.stdout

    def push(self, path, data, *, mode=0o644, uid=0, gid=0):
        self.pushed[path] = (data, mode)
        if Path(path).is_relative_to(self.program.data):
            Path(path).write_bytes(data)

    def pull(self, path):
        if path not in self.pushed:
            raise NotFound(path)
        return self.pushed[path][0]

    def fetch(self, path, target):
        if not Path(path).exists():
            raise NotFound(path)
        target.write_bytes(Path(path).read_bytes())

    def dial(self, port):
        return socket.create_connection(("127.0.0.1", self.program.port), timeout=5)
