"""docs/monitoring: each alarm rings and keeps still, by promtool; also on metrics of a real run."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fixtures.evidence.openmetrics import metrics, newest_proofs
from fixtures.evidence.writer import read_evidence

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "docs" / "monitoring"
CASES = Path(__file__).with_name("alarms.yml")
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
SAMPLE = ROOT / "reports" / "sample" / "evidence.json"
DAY = 24


def promtool(*arguments):
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing; ./run tests takes it from Debian's package prometheus")
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def run_cases(directory, rules=RULES, cases=None):
    """Test rules with the cases, those of alarms.yml if none are given."""
    (directory / "rules.yml").write_text(yaml.safe_dump(rules))
    cases = {**yaml.safe_load(CASES.read_text()), **(cases or {}), "rule_files": ["rules.yml"]}
    (directory / "cases.yml").write_text(yaml.safe_dump(cases))
    return promtool("test", "rules", directory / "cases.yml")


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def series(run):
    """Return name and labels -> value, as they stand in metrics.prom; time 0 is the run's end."""
    ends = {drill.place: run.finished for drill in run.drills}
    known = run.model_copy(update={"proofs": newest_proofs(run, (), ends)})
    end = run.finished.timestamp()
    return {
        sample.name + "{" + ",".join(f'{k}="{v}"' for k, v in sample.labels.items()) + "}": (
            sample.value - (end if sample.name.endswith("timestamp_seconds") else 0)
        )
        for family in text_string_to_metric_families(metrics(known))
        for sample in family.samples
    }


def test_each_alarm_rings_and_keeps_still():
    assert promtool("check", "rules", MONITORING / "rules.yml").returncode == 0
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"])
def test_each_that_never_rings_or_always_does_is_found(expression, tmp_path):
    rules = json.loads(json.dumps(RULES))
    for rule in rules["groups"][0]["rules"]:
        rule["expr"] = expression
    done = run_cases(tmp_path, rules)
    assert done.returncode == 1
    found = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert found == {rule["alert"] for rule in rules["groups"][0]["rules"]}


def names_of(text):
    return set(re.findall(r"\bdr_\w+", text))


def test_every_metric_that_is_asked_for_is_written():
    written = {name.partition("{")[0] for name in series(read_evidence(SAMPLE))}
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    asked = names_of(" ".join([*rules, *expressions(DASHBOARD)]))
    assert len(asked) > 10
    assert asked <= written
    assert names_of("rate(dr_drill_rto_second[5m])") - written == {"dr_drill_rto_second"}


def test_each_expression_of_the_dashboard_can_be_evaluated(tmp_path):
    def check(expressions):
        rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(expressions)]
        file = tmp_path / "panels.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        return promtool("check", "rules", file).returncode

    assert check(expressions(DASHBOARD)) == 0
    assert check([*expressions(DASHBOARD), "sum(dr_audit_findings"]) != 0


def test_no_panel_lies_upon_another():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    squares = [
        (p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) == 23


def ringing(run, hours, directory, left_out="dr_proof_valid_until", step=1):
    """Return alarm -> how many of it ring so many hours after the run, by promtool.

    Args:
        step: hours from one evaluation to the next.
    """
    known = {name: x for name, x in series(run).items() if not name.startswith(left_out)}
    # promtool prints what it got where that is not what it was told to expect.
    expected = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{hours}h",
        "exp_samples": [{"labels": "x", "value": 0}],
    }
    test = {
        "interval": f"{step}h",
        "input_series": [{"series": x, "values": f"{y}x{hours // step}"} for x, y in known.items()],
        "promql_expr_test": [expected],
    }
    cases = {"tests": [test], "evaluation_interval": f"{step}h"}
    said = run_cases(directory, cases=cases).stderr
    got = said.partition("got:")[2]
    return {name: int(float(n)) for name, n in re.findall(r'"Recovery(\w+)"\} ([\dE+.]+)', got)}


def test_a_good_run_rings_nothing_until_it_is_too_old(tmp_path):
    run = read_evidence(SAMPLE)
    cells = len({drill.place for drill in run.drills})
    stale = sum(s.allowed == 2 * DAY * 3600 for a in run.audits for s in a.survivors)
    assert ringing(run, 2, tmp_path) == {}
    assert ringing(run, 27, tmp_path) == {"TimerDead": 1}
    assert ringing(run, 49, tmp_path) == {"TimerDead": 1, "BackupStale": stale}
    old = ringing(run, 93 * DAY, tmp_path, step=12)
    assert old == {"TimerDead": 1, "BackupStale": 12, "ProofOverdue": cells}
    # Each is valid until the run's end: the programme's date comes before the quarter.
    assert ringing(run, 2, tmp_path, left_out="nothing") == {"ProofOverdue": cells}


def test_a_bad_run_rings_at_once(tmp_path, golden):
    red = {x.place for x in golden.drills if x.verdict != "recovered" or x.stand_in}
    assert ringing(golden, 2, tmp_path) == {"DrillRed": len(red), "MetricsMissing": 1}
