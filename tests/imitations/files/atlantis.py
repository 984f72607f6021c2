#!/usr/bin/python3
"""An imitation of Atlantis: the requests that its service class makes, over its own files.

Locks are those of `atlantis.db`, a BoltDB in the form in which the class writes it. The forms of
the answers are those of "API Endpoints" (runatlantis.io) and of Atlantis 0.47; all else is 404.

    atlantis.py DATA PORT
"""

import json
import signal
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA, PORT = Path(sys.argv[1]), int(sys.argv[2])


def entries(page):
    """Return key -> value of the leaf at the beginning of these bytes."""
    found = {}
    (count,) = struct.unpack_from("<H", page, 10)
    for at in range(16, 16 + 16 * count, 16):
        _, position, key_size, size = struct.unpack_from("<IIII", page, at)
        key, value = at + position, at + position + key_size
        found[page[key:value]] = page[value : value + size]
    return found


def locks():
    """Return the locks in the form of the API; None, as Atlantis answers, without any.

    The root of the database is page 3. Raises KeyError or struct.error if it is damaged.
    """
    file = DATA / "atlantis.db"
    if not file.exists():
        return None
    # The value of an inline bucket has its header of 16 bytes in front of the page.
    kept = entries(entries(file.read_bytes()[3 * 4096 :])[b"runLocks"][16:])
    return [shown(json.loads(lock)) for lock in kept.values()] or None


def shown(lock):
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


ANSWERS = {
    "/healthz": lambda: {"status": "ok"},
    "/status": lambda: {"shutting_down": False, "version": "imitation (API of 0.47)"},
    "/api/locks": lambda: {"Locks": locks()},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        answer = ANSWERS.get(self.path)
        text = json.dumps(answer() if answer else {"error": "404 page not found"}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


locks()  # it does not start on a damaged database
server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
