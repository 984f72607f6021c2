"""Every verb on every route of Incus, for each policy: no change leaves the guard that is not ours.

The wire is a recorder; the server itself is asked in `tests/remote/`.
"""

import ast
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from fixtures.errors import GuardRefused
from fixtures.incus.guard import READS, SCOPED, OwnServerPolicy, ReadPolicy, scoped_route
from tests.guard.wire import OURS, PREPARED, Guarded

VERBS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post"]
FIXTURES = Path(__file__).parents[2] / "fixtures"


def paths(template):
    """Return the path with names in it, that of a storage volume for each type."""
    kinds = ["custom", "container", "virtual-machine", "image"] if "{type}" in template else [""]
    return [re.sub(r"\{[A-Za-z_]+\}", "local", template.replace("{type}", kind)) for kind in kinds]


LINES = Path(__file__).with_name("paths.txt").read_text().splitlines()
PATHS = [path for line in LINES if not line.startswith("#") for path in paths(line)]
FOREIGN = [
    "",
    "?project=default",
    "?project=atlas",
    "?project=drill-unmarked",
    "?project=drill-other",
    "?project=drill-empty-marker",
    "?project=drill-gone",
    "?project=Drill-x",
    "?project=drilled",
    "?project=drill-",
    "?project=drill-x%2F..%2Fdefault",
    "?project=drill-x%00",
    f"?project={quote(OURS + 'é')}",
    f"?project={OURS}&project=default",
    f"?project=default&project={OURS}",
    f"?project={OURS}&project={OURS}",
    f"?project={OURS}&all-projects=true",
    f"?Project={OURS}",
    f"?project={OURS};project=default",
]


@pytest.mark.parametrize("query", FOREIGN)
def test_no_change_reaches_a_foreign_project(query):
    guard = Guarded()
    for path in PATHS:
        for verb in VERBS:
            assert guard.refuses(verb, path + query), f"{verb} {path}{query}"
    assert guard.wire.sent == []
    assert len(guard.policy.refusals) > 800


@pytest.mark.parametrize("project", [OURS, PREPARED])
def test_only_the_whitelist_passes_in_our_own_project(project):
    guard = Guarded()
    for path in PATHS:
        for verb in VERBS:
            route = scoped_route(path)
            is_allowed = route is not None and verb in route.verbs
            assert guard.refuses(verb, f"{path}?project={project}") is not is_allowed, (
                f"{verb} {path}"
            )
    assert len(guard.wire.sent) >= len(SCOPED)
    assert all(f"project={project}" in url for _, url in guard.wire.sent)


@pytest.mark.parametrize(
    "query", ["", f"?project={OURS}", f"?project={PREPARED}", "?project=atlas"]
)
def test_a_reader_changes_nothing_anywhere(query):
    reading = Guarded(ReadPolicy())
    for path in PATHS:
        for verb in VERBS:
            assert reading.refuses(verb, path + query), f"{verb} {path}{query}"
    assert reading.wire.sent == []
    assert not reading.refuses("GET", f"/1.0/instances/x/files{query or '?'}&path=/etc/hostname")


@pytest.mark.parametrize("policy", [None, ReadPolicy()], ids=["drill", "read"])
def test_reads_pass_unless_they_give_write_access(policy):
    guard = Guarded(policy)
    writing = r"/(sftp|nbd|websocket|exec|console|debug/memory)$|/buckets/.*/keys"
    for path in PATHS:
        is_of_the_api = re.fullmatch(r"/|/1\.0(/.*)?", path) is not None
        is_refused = re.search(writing, path) is not None or not is_of_the_api
        for verb in READS:
            assert guard.refuses(verb, f"{path}?project=atlas") is is_refused, f"{verb} {path}"


def test_the_labs_policy_speaks_to_the_labs_server_alone():
    lab = Guarded(OwnServerPolicy("/run/incus/unix.socket"))
    lab.send("POST", "/1.0/projects", {"name": "atlas"})
    with pytest.raises(GuardRefused, match="another server than the lab's"):
        Guarded(OwnServerPolicy("/var/lib/lab/unix.socket")).send("GET", "/1.0")
    assert len(lab.wire.sent) == 1


def modules_with(*words):
    """Return the modules of the engine that hold all these words, without the guard itself."""
    return {
        str(file.relative_to(FIXTURES))
        for file in FIXTURES.rglob("*.py")
        if file.name != "guard.py" and all(word in file.read_text() for word in words)
    }


def test_there_are_three_policies_and_only_the_labs_builder_may_do_anything():
    trees = [ast.parse(file.read_text()) for file in FIXTURES.rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    policies = {
        node.name
        for node in classes
        if any(getattr(member, "name", "") == "must_allow" for member in node.body)
    }
    assert policies == {"Policy", "ReadPolicy", "DrillPolicy", "OwnServerPolicy"}
    assert modules_with("OwnServerPolicy(") == {"recovery/source.py", "plugin/target.py"}
    # The operator's script also writes; only the lab's own shell gets it.
    assert modules_with("atlas-backup.sh", "import process") == {"recovery/source.py"}
    for other in ("subprocess", "fixtures.process"):
        assert modules_with("atlas-backup.sh", other) == set()
