"""Makes one service's instance, as an operator's `tofu apply` does; the lab's `apply` command.

The drill says by the environment what to make. This program knows nothing else of drills, and
uses the standard library only: it stands for a tool that is not ours.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from typing import Any

KNOWN = {
    "alertmanager01": ("alertmanager", "/var/lib/alertmanager"),
    "atlantis01": ("atlantis", "/atlantis-data"),
    "grafana01": ("grafana", "/var/lib/grafana"),
    "loki01": ("loki", "/loki"),
    "mosquitto01": ("mosquitto", "/mosquitto/data"),
    "prometheus01": ("prometheus", "/prometheus"),
    "step-ca01": ("step-ca", "/home/step"),
}
"""Instance -> its image, and where its data volume goes."""


class Incus(http.client.HTTPConnection):
    """The API on the socket that the drill hands out."""

    def connect(self) -> None:
        """By the unix socket, wherever the URL points."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["INCUS_SOCKET"])


def ask(verb: str, path: str, body: Any = None) -> Any:
    """One request, waited for; what Incus says against it ends the program."""
    connection = Incus("incus")
    connection.request(verb, path, None if body is None else json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    if answer["type"] == "async":
        answer = ask("GET", f"{answer['operation'].partition('?')[0]}/wait")
        fault = answer["metadata"]["err"]
    else:
        fault = answer.get("error")
    if fault:
        sys.exit(f"{verb} {path}: {fault}")
    return answer


def main() -> None:
    """Make the instance on the volume, without starting it."""
    instance = os.environ["ATLAS_DRILLS_INSTANCE"]
    if instance not in KNOWN:
        sys.exit(f"no instance {instance} is known here, only {', '.join(KNOWN)}")
    image, path = KNOWN[instance]
    data = {
        "type": "disk",
        "pool": os.environ["ATLAS_DRILLS_POOL"],
        "source": os.environ["ATLAS_DRILLS_VOLUME"],
        "path": path,
    }
    order = {
        "name": instance,
        "source": {"type": "image", "alias": image},
        "config": {"limits.memory": "1GiB", "user.made-by": "apply.py"},
        "devices": {"data": data},
    }
    ask("POST", f"/1.0/instances?project={os.environ['ATLAS_DRILLS_PROJECT']}", order)
    print(f"made {instance}")


if __name__ == "__main__":
    main()
