"""The wire below the guard, as a recorder, and requests to hand to the guard.

It answers the guard's own question (the config of a project) from a table. Everything else that
reaches it has passed the guard.
"""

import json
import re
from urllib.parse import unquote, urlsplit

import requests
import requests.adapters

from fixtures.errors import GuardRefused
from fixtures.incus.guard import MARKER_KEY, PREPARED_KEY, REQUIRED, DrillPolicy, GuardAdapter

BASE = "http+unix://%2Frun%2Fincus%2Funix.socket"
RUN = "20260101-000000-abcdef"
OURS = f"drill-{RUN}-main"
PREPARED = "drill-prepared"
CLOSED = {**REQUIRED, MARKER_KEY: RUN}
PROJECTS = {
    OURS: CLOSED,
    PREPARED: {**REQUIRED, PREPARED_KEY: "true"},
    "drill-unmarked": dict(REQUIRED),
    "drill-other": {**REQUIRED, MARKER_KEY: "another-run"},
    "drill-empty-marker": {**REQUIRED, MARKER_KEY: ""},
    "default": dict(CLOSED),
    "atlas": {**CLOSED, PREPARED_KEY: "true"},
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


class Guarded:
    """A guard with a policy, above a wire of its own."""

    def __init__(self, policy=None):
        self.wire = Wire()
        self.policy = policy or DrillPolicy(RUN, [PREPARED, "atlas"])
        self.adapter = GuardAdapter(self.wire, BASE, self.policy)

    def send(self, verb, path, body=None, headers=None, *, url=None, **options):
        """Send a request; `url` takes the place of what requests makes of the path."""
        request = requests.Request(verb, BASE + path, headers=headers)
        if hasattr(body, "read"):
            request.data = body
        ready = request.prepare()
        ready.method = verb
        if isinstance(body, (bytes, str)):
            ready.body = body
        elif body is not None and not hasattr(body, "read"):
            ready.prepare_body(json.dumps(body), None)
        ready.url = url or ready.url
        return self.adapter.send(ready, **options)

    def refuses(self, *args, **kwargs):
        """Return whether the guard refuses a request; then nothing of it was sent."""
        before = len(self.wire.sent)
        try:
            self.send(*args, **kwargs)
        except GuardRefused as refused:
            assert "nothing was sent" in refused.message
            assert len(self.wire.sent) == before
            return True
        return False
