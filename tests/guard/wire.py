"""The wire below the guard, as a recorder, and requests to hand to the guard.

It answers the guard's own question (the config of a project) from a table; what else it is
handed has got past the guard.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote, urlsplit

import requests
import requests.adapters

from fixtures.errors import GuardRefused
from fixtures.incus.guard import MARKER_KEY, REQUIRED

BASE = "http+unix://%2Frun%2Fincus%2Funix.socket"
RUN = "20260101-000000-abcdef"
OURS = f"drill-{RUN}-main"
CLOSED = {**REQUIRED, MARKER_KEY: RUN}
PROJECTS = {
    OURS: CLOSED,
    "drill-unmarked": dict(REQUIRED),
    "drill-other": {**REQUIRED, MARKER_KEY: "another-run"},
    "drill-empty-marker": {**REQUIRED, MARKER_KEY: ""},
    "default": dict(CLOSED),
    "atlas": dict(CLOSED),
    "Drill-x": dict(CLOSED),
    "drilled": dict(CLOSED),
}


class Wire(requests.adapters.BaseAdapter):
    """Answers questions for a project's config; remembers everything else."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def send(self, request, *args, **kwargs):
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        found = re.fullmatch(r"/1\.0/projects/([^/]+)", urlsplit(request.url).path)
        if request.method == "GET" and found:
            config = PROJECTS.get(unquote(found.group(1)))
            answer.status_code = 404 if config is None else 200
            answer._content = json.dumps({"metadata": {"config": config}}).encode()
            return answer
        self.sent.append((request.method, request.url))
        answer.status_code, answer._content = 200, b"{}"
        return answer

    def close(self):
        """Nothing is open."""


def prepared(verb, path, body=None, headers=None):
    request = requests.Request(verb, BASE + path, headers=headers)
    ready = request.prepare()
    ready.method = verb
    if body is not None:
        ready.prepare_body(json.dumps(body), None)
    return ready


def is_refused(guard, request):
    try:
        guard.send(request)
    except GuardRefused as refused:
        assert "nothing was sent" in refused.message
        return True
    return False
