#!/usr/bin/python3
"""An imitation of Atlantis: the requests that its service class makes, over its own files.

Locks are those of `atlantis.db`, a BoltDB in the form in which the class writes it. The forms of
the answers are those of "API Endpoints" (runatlantis.io) and of Atlantis 0.47; all else is 404.

    atlantis.py DATA PORT
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = 4096
MAGIC = 0xED0CDAED


def read_database(data: bytes) -> dict[str, dict[bytes, bytes]]:
    """Return bucket -> key -> value of a BoltDB whose root is page 3 and whose buckets are inline.

    Raises:
        ValueError: it is damaged, or has another form.
    """
    if len(data) < 4 * PAGE or struct.unpack_from("<I", data, 16)[0] != MAGIC:
        raise ValueError("no whole meta page")
    number, _, _, overflow = struct.unpack_from("<QHHI", data, 3 * PAGE)
    if number != 3 or len(data) < (4 + overflow) * PAGE:
        raise ValueError("the root page is cut or not in its place")
    # The value of an inline bucket has its header of 16 bytes in front of the page.
    root = _entries(data[3 * PAGE :])
    return {name.decode(): dict(_entries(value[16:])) for name, value in root}


def _entries(page: bytes) -> Iterator[tuple[bytes, bytes]]:
    _, _, count, _ = struct.unpack_from("<QHHI", page)
    for at in range(16, 16 + 16 * count, 16):
        _, position, key_size, value_size = struct.unpack_from("<IIII", page, at)
        key, value = at + position, at + position + key_size
        yield page[key:value], page[value : value + value_size]


def locks_of(data: Path) -> list[dict[str, Any]] | None:
    """Return the locks in the form of GET /api/locks; None, as Atlantis answers, without any."""
    file = data / "atlantis.db"
    found = read_database(file.read_bytes())["runLocks"] if file.exists() else {}
    return [_shown(json.loads(lock)) for lock in found.values()] or None


def _shown(lock: dict[str, Any]) -> dict[str, Any]:
    project, pull = lock["Project"], lock["Pull"]
    parts = (project["RepoFullName"], project["Path"], lock["Workspace"], project["ProjectName"])
    return {
        "Name": "/".join(parts),
        "ProjectName": project["ProjectName"],
        "ProjectRepo": project["RepoFullName"],
        "ProjectRepoPath": project["Path"],
        "PullID": str(pull["Num"]),
        "PullURL": pull["URL"],
        "User": lock["User"]["Username"],
        "Workspace": lock["Workspace"],
        "Time": lock["Time"],
    }


class Handler(BaseHTTPRequestHandler):
    """One connection; `server.data` is the data directory."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer one request."""
        answers: dict[str, Any] = {
            "/healthz": lambda: {"status": "ok"},
            "/status": lambda: {"shutting_down": False, "version": "imitation (API of 0.47)"},
            "/api/locks": lambda: {"Locks": locks_of(self.server.data)},  # type: ignore[attr-defined]
        }
        answer = answers.get(self.path)
        text = json.dumps(answer() if answer else {"error": "404 page not found"}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main(data: Path, port: int) -> None:
    """Serve until SIGTERM; do not start on a damaged database."""
    locks_of(data)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.data = data  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
