"""A service that answers 200 with something else than it documents ends as `could not look`."""

from datetime import UTC, datetime

import pytest
import requests

from fixtures.errors import CouldNotLook
from fixtures.services.alertmanager import Alertmanager
from fixtures.services.atlantis import Atlantis
from fixtures.services.grafana import Grafana
from fixtures.services.http import HttpClient
from fixtures.services.loki import Loki
from fixtures.services.prometheus import Prometheus
from fixtures.services.step_ca import StepCa, new_ca
from tests.imitations.instance import spec_of

BODIES = [b"<html>maintenance</html>", b"", b"[]", b"{}", b'"x"', b"7", b"[7]", b'{"data": 7}']
KINDS = {
    "prometheus": Prometheus,
    "loki": Loki,
    "alertmanager": Alertmanager,
    "atlantis": Atlantis,
    "grafana": Grafana,
    "step-ca": StepCa,
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_of_another_form_is_no_traceback(monkeypatch, kind, body):
    def request(*_, **__):
        answer = requests.Response()
        answer.status_code, answer._content = 200, body
        return answer

    monkeypatch.setattr(HttpClient, "request", request)
    monkeypatch.setenv("ATLAS_DRILLS_GRAFANA_TOKEN", "x")
    service = KINDS[kind](spec_of(kind), None)
    if isinstance(service, StepCa):
        service.trusted_root = new_ca("/home/step", "ca.test").root
    now = datetime.now(UTC)
    with pytest.raises(CouldNotLook):
        service.version()
    try:
        held = service.list_items(now)
    except CouldNotLook:
        return
    # An empty list is what some of them answer where they hold nothing.
    assert body in (b"[]", b"{}") and not sum(item.count for item in held)
