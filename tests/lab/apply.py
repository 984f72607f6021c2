"""A command of an operator's, as the tests run it: `python apply.py ACT`.

It trusts its environment as `tofu apply` would, and tells in its exit status whether all it asked
for was done.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time

E = os.environ


class ByUnixSocket(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(E["INCUS_SOCKET"])


def ask(verb, path, body=None):
    """One request, waited for; ends the command with what Incus says against it."""
    connection = ByUnixSocket("incus")
    connection.request(verb, path, json.dumps(body) if body is not None else None)
    answer = json.loads(connection.getresponse().read())
    if answer["type"] == "async":
        answer = ask("GET", f"{answer['operation'].split('?')[0]}/wait")
        if answer["metadata"]["err"]:
            sys.exit(answer["metadata"]["err"])
    if answer["type"] == "error":
        sys.exit(answer["error"])
    return answer


def make(volume, path="/mosquitto/data", **config):
    data = {"type": "disk", "pool": E["ATLAS_DRILLS_POOL"], "source": volume, "path": path}
    body = {"name": E["ATLAS_DRILLS_INSTANCE"], "devices": {"data": data}, "config": config}
    ask(
        "POST",
        f"/1.0/instances{SCOPE}",
        {**body, "source": {"type": "image", "alias": "mosquitto"}},
    )


def start():
    ask("PUT", f"/1.0/instances/{E['ATLAS_DRILLS_INSTANCE']}/state{SCOPE}", {"action": "start"})


def make_on_another_volume():
    volumes = f"/1.0/storage-pools/{E['ATLAS_DRILLS_POOL']}/volumes/custom{SCOPE}"
    ask("POST", volumes, {"name": "other", "type": "custom", "content_type": "filesystem"})
    make("other")


def replace_the_volume():
    volumes = f"/1.0/storage-pools/{E['ATLAS_DRILLS_POOL']}/volumes/custom"
    ask("DELETE", f"{volumes}/{VOLUME}{SCOPE}")
    order = {"name": VOLUME, "type": "custom", "content_type": "filesystem"}
    ask("POST", f"{volumes}{SCOPE}", order)
    make(VOLUME)


SCOPE = f"?project={E.get('ATLAS_DRILLS_PROJECT')}"
VOLUME = E.get("ATLAS_DRILLS_VOLUME")
SOURCE = f"/1.0/instances/{E.get('ATLAS_DRILLS_INSTANCE')}"
ACTS = {
    "make": lambda: make(VOLUME),
    "make-and-start": lambda: (make(VOLUME), start()),
    "make-elsewhere": lambda: make(VOLUME, "/srv"),
    "make-on-another-volume": make_on_another_volume,
    "replace-the-volume": replace_the_volume,
    "make-nothing": lambda: ask("GET", f"/1.0/instances{SCOPE}"),
    "delete-source": lambda: ask("DELETE", f"{SOURCE}?project={sys.argv[2]}"),
    "stop-source": lambda: ask(
        "PUT", f"{SOURCE}/state?project={sys.argv[2]}", {"action": "stop", "force": True}
    ),
    "make-in-default": lambda: ask("POST", "/1.0/profiles?project=default", {"name": "x"}),
    "make-without-project": lambda: ask("POST", "/1.0/profiles", {"name": "x"}),
    "loosen": lambda: ask(
        "PATCH",
        f"/1.0/projects/{E['ATLAS_DRILLS_PROJECT']}{SCOPE}",
        {"config": {"restricted.devices.nic": "allow"}},
    ),
    "fail": lambda: sys.exit(f"the token is {sys.argv[2]}"),
    "hang": lambda: time.sleep(600),
    "tell": lambda: sys.exit(json.dumps({**E})),
}

if __name__ == "__main__":
    ACTS[sys.argv[1]]()
