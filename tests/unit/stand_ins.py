"""Runs a stand-in's own program on loopback, and the inside of an instance in its place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fixtures.errors import NotFound
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import Service
from fixtures.incus.instance import CommandResult

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "fixtures/lab/recipes/files"


def spec_of(name: str) -> Service:
    return load_fleet(ROOT / "fleets/atlas.yaml").service(name)


class Program:
    """One stand-in over a data directory."""

    def __init__(self, name: str, data: Path) -> None:
        self.path, self.data = PROGRAMS / name / f"{name}_server.py", data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, env: Mapping[str, str] = {}) -> None:
        argv = [sys.executable, str(self.path), str(self.data), str(self.port)]
        self.process = subprocess.Popen(argv, env={**os.environ, **env}, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.process.kill()
        _, told = self.process.communicate(timeout=20)
        self.process = None
        raise AssertionError(told.decode())

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None and self.process.stderr is not None
        self.process.send_signal(how)
        status = self.process.wait(timeout=20)
        self.process.stderr.close()
        self.process = None
        return status


class Loopback:
    """What a service class sees of an instance, with the program in it."""

    name = "stand-in01"

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pushed: dict[str, tuple[bytes, int]] = {}
        self.dialled: list[socket.socket] = []

    def exec(self, argv: Sequence[str], *, timeout: float = 30) -> CommandResult:
        return CommandResult(tuple(argv), 77, "", "no such program here")

    def must_exec(self, argv: Sequence[str], *, timeout: float = 30) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=timeout)
        return done.stdout

    def push(
        self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        self.pushed[path] = (data, mode)

    def pull(self, path: str) -> bytes:
        if path not in self.pushed:
            raise NotFound(path)
        return self.pushed[path][0]

    def fetch(self, path: str, target: Path) -> None:
        source = self.program.data / Path(path).name
        if not source.exists():
            raise NotFound(path)
        target.write_bytes(source.read_bytes())

    def dial(self, port: int, *, patience: float = 0.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.program.port), timeout=5)
