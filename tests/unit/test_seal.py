"""A sealed run: every change is named, and openssl says the same as `./run verify`."""

import base64
import gzip
import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from fixtures.errors import UsageError, printable
from fixtures.evidence import seal, verify
from fixtures.evidence.checklist import read_dossier
from fixtures.evidence.html import pages_of, render_page, write_index
from fixtures.evidence.record import SealRecord
from fixtures.evidence.review import (
    CONTROLS_PAGE,
    OSCAL_FILE,
    REVIEW_FILE,
    REVIEW_PAGE,
    ReviewText,
    add_entry,
)
from fixtures.evidence.seal import SEAL_FILE, STAMP_FILE, Signer, read_public_key
from fixtures.evidence.wording import seal_check
from fixtures.evidence.writer import HISTORY_FILE, append_history, read_evidence, write_evidence
from fixtures.plugin.options import read_signer
from tests.unit.sealed import new_key, record, signer_of, write_run, write_runs
from tests.unit.test_evidence_judge import drill

ROOT = Path(__file__).parents[2]
CHANGES = int(os.environ.get("ATLAS_DRILLS_MUTATIONS", "1000"))


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("keys") / "seal.key")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("other") / "other.key")


def public(key):
    return read_public_key(key.with_suffix(".pub").read_bytes())


def option(key):
    return f"--key={key.with_suffix('.pub')}"


def faults(path, *keys):
    return [f"{fault.where}: {fault.what}" for fault in verify.verify([path], tuple(keys)).faults]


def first_run(reports):
    return min(reports.glob("*/"))


@pytest.fixture(scope="module")
def made(key, tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    write_runs(place, 3, signer_of(key))
    return place


@pytest.fixture
def reports(made, tmp_path):
    return shutil.copytree(made, tmp_path / "reports")


def test_what_was_written_is_verified(reports, key, capsys):
    assert verify.verify_paths([str(reports), option(key)]) == 0
    said = capsys.readouterr().out
    assert "3 runs, 6 drills: no fault" in said
    assert f"signed by key {public(key).keyid}: 3 runs" in said
    assert "who holds the key can sign anything" in said
    assert verify.verify_paths([str(first_run(reports))]) == 0


WORDS = (b"recovered", b"6.5", b"2026-01-0", b"step-ca", b"held")


def edit_words(rng, data, at):
    """What somebody would edit who wants a better report."""
    found = [word for word in WORDS if word in data]
    return data.replace(word := rng.choice(found), word[::-1], 1) if found else data[:at]


def flip(rng, data, at):
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


BYTES = (
    *(flip, flip, flip, edit_words),
    lambda rng, data, at: data[:at],
    lambda rng, data, at: data[:at] + data[at + 1 :],
    lambda rng, data, at: data[:at] + rng.choice([b"\n", b" ", b"x", b"\r"]) + data[at:],
)
LINES = (
    lambda lines, at: lines[:at] + lines[at + 1 :],
    lambda lines, at: lines[: at + 1] + lines[at:],
    lambda lines, at: [*lines[:at], *lines[at + 1 :], lines[at]],
)

# Each takes a random generator and the reports, and returns what has to be named.


def remove_file(rng, reports):
    path = rng.choice(files(reports))
    path.unlink()
    return path


def add_file(rng, reports):
    path = rng.choice(sorted(reports.glob("*/"))) / rng.choice(
        ["notes.txt", "a.html", ".hidden", "x.seal.json", "xseal.json", "deep/seal.json"]
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text("added")
    return path


def swap_file(rng, reports):
    """With that of another run: whole in itself, and sealed."""
    one, two = rng.sample(sorted(reports.glob("*/")), 2)
    name = rng.choice(["evidence.json", "report.html", "metrics.prom", SEAL_FILE])
    shutil.copy(two / name, one / name)
    return one


def remove_run(rng, reports):
    path = rng.choice(sorted(reports.glob("*/")))
    shutil.rmtree(path)
    return path


def files(reports):
    return sorted(path for path in reports.rglob("*") if path.is_file())


def tamper(rng, reports):
    """Change something; returns the path of the file, or of the run, that has to be named."""
    change = rng.choice([*BYTES, *LINES, remove_file, add_file, swap_file, remove_run])
    if change not in BYTES + LINES:
        return change(rng, reports)
    path = rng.choice(files(reports))
    if change in LINES and rng.random() < 0.5:
        path = reports / HISTORY_FILE
    before = after = path.read_bytes()
    lines = before.splitlines(keepends=True)
    while after == before:
        if change in BYTES:
            after = change(rng, before, rng.randrange(len(before)))
        else:
            at = rng.randrange(len(lines))
            after = b"".join(change(lines, at) if len(lines) > 1 else [])
    path.write_bytes(after)
    return path


def test_every_change_is_named(key, tmp_path):
    """Of CHANGES changes, each by its seed, to any file of a run or to the history.

    A change of the history is named by itself, or by the run whose lines differ.
    """
    whole = tmp_path / "whole"
    write_runs(whole, 2, signer_of(key))
    with_pages(first_run(whole))
    assert faults(whole, public(key)) == []
    unnamed = []
    for seed in range(CHANGES):
        rng, reports = random.Random(seed), tmp_path / "reports"
        shutil.copytree(whole, reports)
        path = tamper(rng, reports)
        # Nothing says that somebody has made these, who need not.
        is_free = path.name in (CONTROLS_PAGE, OSCAL_FILE, "index.html") and not path.exists()
        # The last line of a review that is not signed has its SHA-256 on the page alone.
        named = path.name if path.name == REVIEW_FILE else str(path)
        if not is_free and not any(named in fault for fault in faults(reports, public(key))):
            unnamed.append((seed, str(path.relative_to(reports))))
        shutil.rmtree(reports)
    assert unnamed == []


def newest_line(change):
    """A change of the line that no other line rests on."""

    def spoil(reports):
        path = reports / HISTORY_FILE
        *lines, last = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines) + change(last))

    return spoil


def strip_the_chain(reports):
    path = reports / HISTORY_FILE
    path.write_text(re.sub(', "previous": "[0-9a-f]+"', "", path.read_text()))


def swap_runs(reports):
    one, two = sorted(reports.glob("*/"))[:2]
    one.rename(reports / "aside"), two.rename(one), (reports / "aside").rename(two)


def plant_a_pack(reports):
    remove_run(random.Random(1), reports)
    runs = [run.name for run in reports.glob("*/")]
    period = {"from": "2030-01-01", "to": "2030-12-31", "runs": runs}
    (reports / "pack.json").write_text(json.dumps(period))


def plant_a_run(reports):
    shutil.copytree(first_run(reports), reports, dirs_exist_ok=True)


def plant_a_page(reports):
    place = reports / "20260202-040000-abcdef"
    place.mkdir()
    shutil.copy(first_run(reports) / "report.html", place)


HIDDEN = {
    "chain": (strip_the_chain, "history.jsonl: line 1 is not what .* previous, which it lacks"),
    "field": (newest_line(lambda x: x.replace(b'"drills": 2, ', b"")), "drills, which it lacks"),
    "number": (newest_line(lambda x: x.replace(b'"drills": 2', b'"drills": 2.0')), "spelling"),
    "blank": (newest_line(lambda x: x.replace(b": ", b":  ", 1)), "another spelling"),
    "name": (lambda reports: first_run(reports).rename(reports / "r"), "/r: is run 2026.*renamed"),
    "copy": (lambda reports: shutil.copytree(first_run(reports), reports / "c"), "is here twice"),
    "names": (swap_runs, "the directory was renamed"),
    "pack": (plant_a_pack, "began on 2026-01-0., outside of the period"),
    "page": (plant_a_page, "20260202-040000-abcdef/evidence.json: No such file"),
    "run": (plant_a_run, "another run, inside of this one"),
}


@pytest.mark.parametrize(("spoil", "told"), HIDDEN.values(), ids=HIDDEN)
def test_what_no_seal_covers_is_named(tmp_path, spoil, told):
    """Without a seal: the newest line of the history, names of runs, and what stands beside."""
    write_runs(tmp_path, 3)
    spoil(tmp_path)
    assert any(re.search(told, fault) for fault in faults(tmp_path)), faults(tmp_path)


ODD = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "directory": lambda path: path.symlink_to("/etc"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["a\udcff\x1b", "evidence.json", SEAL_FILE, f"../{HISTORY_FILE}"])
def test_what_is_no_file_is_named_and_not_waited_for(reports, key, capsys, make, name):
    path = Path(os.path.normpath(first_run(reports) / name))
    path.unlink(missing_ok=True)
    make(path)
    assert verify.verify_paths([str(reports), option(key)]) == 3
    assert f"FAULT {printable(str(path))}: " in capsys.readouterr().out


def test_an_added_file_is_no_line_of_the_answer(reports, capsys):
    (first_run(reports) / "x\nnote: all is well").write_text("")
    assert verify.verify_paths([str(reports)]) == 3
    assert "x\\nnote: all is well: is in no seal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{", '{"a":' * 100_000, "nested too deeply"),
        ('"options": {}', '"options": {"a": %s}' % ("[" * 900 + "]" * 900), "nested too deeply"),
        ('"rto":6.5', '"rto":%s' % ("9" * 5000), "damaged"),
        ('"finished": "2026', '"finished": "0001', "damaged: finished: .*no year from 2 to"),
        ('"finished": "2026-01-01T04:03:00Z"', '"finished": "2026-01-01T04:03:00"', "not that of"),
        ('"finished": "2026-01-01T04:03:00Z"', '"finished": "2016-12-31T23:59:60Z"', "damaged"),
    ],
)
def test_evidence_that_cannot_be_read_is_named(tmp_path, capsys, old, new, told):
    path = write_runs(tmp_path, 1)[0] / "evidence.json"
    path.write_text(path.read_text().replace(old, new, 1))
    assert verify.verify_paths([str(tmp_path)]) == 3
    assert re.search(f"FAULT {path}: .*{told}", capsys.readouterr().out)


def test_a_file_of_another_run_is_named_although_the_key_signed_it(reports, key):
    """Moved together with its seal: that names the evidence of the run that it is of."""
    other = write_run(reports, record(7, signer_of(key)), None)
    (other / "by-hand.cast").write_text("all went well")
    statement = seal.statement_of(read_evidence(other / "evidence.json"), other, None)
    signer_of(key).sign(statement, other / SEAL_FILE)
    run = first_run(reports)
    shutil.copy(other / "by-hand.cast", run)
    shutil.copy(other / SEAL_FILE, run / f"x.{SEAL_FILE}")
    assert any(f"x.{SEAL_FILE}: is of another run" in fault for fault in faults(run, public(key)))


def with_pages(directory):
    """Leave the pages that people add to a run, and that of all runs."""
    made = read_evidence(directory / "evidence.json")
    add_entry(directory, made, ReviewText(observations=["slow"]), user="root")
    names = {REVIEW_PAGE, CONTROLS_PAGE, OSCAL_FILE}
    for name, text in pages_of(read_dossier(directory), directory, names).items():
        (directory / name).write_text(text)
    write_index(directory.parent, datetime.now(UTC))


@pytest.mark.parametrize("change", [lambda data: data.replace(b"\n", b"\r\n"), lambda _: b"\xff"])
@pytest.mark.parametrize(
    "name", [REVIEW_FILE, REVIEW_PAGE, CONTROLS_PAGE, OSCAL_FILE, "../index.html"]
)
def test_an_edited_page_is_named(reports, name, change):
    with_pages(first_run(reports))
    assert faults(reports) == []
    path = first_run(reports) / name
    path.write_bytes(change(path.read_bytes()))
    assert any(path.name in fault for fault in faults(reports)), faults(reports)


def test_pages_of_another_suite_are_said_to_be_unchecked(reports, monkeypatch):
    with_pages(first_run(reports))
    edited(first_run(reports) / CONTROLS_PAGE, "partly", "Partly")
    edited(reports / "index.html", "3 runs", "4 runs")
    monkeypatch.setattr(verify, "renderer", lambda: "00")
    result = verify.verify([reports])
    assert result.faults == []
    assert [n.split()[0] for n in result.notes if "html" in n] == [CONTROLS_PAGE, "index.html"]


def test_a_killed_run_is_no_fault_and_is_said(tmp_path):
    write_runs(tmp_path, 1)
    write_evidence(record(3, finished=None, drills=[], drills_made=0), tmp_path / record(3).run)
    result = verify.verify([tmp_path])
    assert result.faults == [] and any("was killed, or goes on" in n for n in result.notes)


def test_another_key_is_named(reports, key, other):
    assert faults(reports, public(key), public(other)) == []
    seen = faults(reports, public(other))
    assert len(seen) == 3 and all(f"is signed by {public(key).keyid}, not by" in s for s in seen)


def test_a_run_made_again_with_another_key_is_named(reports, key, other):
    """The forger has rewritten evidence, page, seal and history; later seals hold the old chain."""
    run = sorted(reports.glob("*/"))[1]
    shutil.rmtree(reports)
    for number, signer in enumerate(map(signer_of, (key, other, key))):
        write_run(reports, record(number, signer), signer)
    assert any(run.name in seen for seen in faults(reports, public(key)))


def test_results_that_the_facts_do_not_give_are_named(tmp_path, key):
    """Whoever reads the Statement alone, as other programs for in-toto do, is not lied to."""
    run = write_run(tmp_path, record(signer=signer_of(key)))
    made = read_evidence(run / "evidence.json")
    lie = seal.statement_of(made, run, None)
    lie["predicate"]["failedTests"] = ["another"]
    signer_of(key).sign(lie, run / SEAL_FILE)
    assert faults(run) == [f"{run}/{SEAL_FILE}: its results are not those that the facts give"]


def test_a_file_that_was_added_with_a_seal_of_its_own_is_no_fault(reports, key):
    run = first_run(reports)
    note = run / "note.txt"
    note.write_text("all went well")
    assert faults(run) == [f"{note}: is in no seal: it was added"]
    subject = {"name": note.name, "digest": {"sha256": seal.sha256_of(note)}}
    signer_of(key).sign({"subject": [subject]}, run / f"note.{SEAL_FILE}")
    assert faults(reports, public(key)) == []
    note.write_text("all went very well")
    assert faults(run) == [f"{note}: is not as it was sealed: it was changed"]
    (run / SEAL_FILE).unlink()
    assert any(f"{SEAL_FILE}: is missing: the run was to be sealed" in f for f in faults(run))


def test_a_run_without_a_seal_is_a_fault_only_for_who_holds_a_key(tmp_path, key):
    (run,) = write_runs(tmp_path, 1)
    assert faults(run, public(key)) == [f"{run}/{SEAL_FILE}: there is none: the run is not sealed"]
    result = verify.verify([tmp_path])
    assert result.faults == [] and any("not sealed" in note for note in result.notes)


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("report.html", "recovered within target", "recovered", "is not the page of this evidence"),
        ("metrics.prom", "} 1.0", "} 0.0", "is not of this evidence"),
        ("evidence.json", '"rto":6.5', '"rto":1.5', "is recorded as recovered, the facts say not"),
        ("evidence.json", "name: atlas", "name: other", "is not that of its SHA-256"),
        ("evidence.json", '"functional"', '"full-scale"', "the facts say functional"),
    ],
)
def test_without_a_seal_what_contradicts_itself_is_named(tmp_path, name, old, new, told):
    (run,) = write_runs(tmp_path / "reports", 1)
    edited(run / name, old, new)
    assert any(told in fault for fault in faults(run)), faults(run)
    assert faults(tmp_path / "reports") != faults(run) or name != "evidence.json"


def test_a_page_of_another_suite_is_not_called_edited(tmp_path):
    made = record()
    other = made.suite.model_copy(update={"renderer": "00", "commit": "abc"})
    run = write_run(tmp_path, made.model_copy(update={"suite": other}))
    (run / "report.html").write_text("made by another suite")
    result = verify.verify([run])
    assert result.faults == []
    assert "made by commit abc: page and metrics were not made again" in result.notes


def test_lines_of_older_suites_are_in_the_chain(tmp_path, key):
    old = '{"run": "older", "begun": "2025-01-01T00:00:00Z", "service": "x"}\n'
    (tmp_path / HISTORY_FILE).write_text(old)
    write_runs(tmp_path, 2, signer_of(key))
    (missing,) = faults(tmp_path)
    assert "older (line 1 of the history): is missing" in missing
    edited(tmp_path / HISTORY_FILE, '"x"', '"y"')
    assert "line 2 does not follow what stands before it" in faults(tmp_path)[0]


def test_a_history_without_a_chain_is_read(tmp_path):
    """As suites before this one have left it: evidence of version 1, no `previous`."""
    made = record().model_copy(update={"schema_version": 1, "promised": None})
    write_run(tmp_path, made)
    path = tmp_path / HISTORY_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["previous"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines if "service" in line))
    result = verify.verify([tmp_path])
    assert result.faults == []
    assert "the history has no chain yet: it was written by an older suite" in result.notes
    edited(path, '"rto": 6.5', '"rto": 6.4')
    assert "gives: rto" in faults(tmp_path)[0]


def test_an_empty_place_proves_nothing(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert verify.verify_paths([str(tmp_path / "empty")]) == 3
    assert "nothing to verify" in capsys.readouterr().out
    assert verify.verify_paths([str(tmp_path / "none")]) == 2


PROGRAM = """
import sys
from importlib.metadata import packages_distributions
from fixtures.evidence import verify
if verify.verify_paths(sys.argv[1:]):
    sys.exit(1)
names = {".".join(name.split(".")[:2]) for name in sys.modules}
owners = packages_distributions()
print(*names, *("package:" + one for name in names for one in owners.get(name, ())))
"""


def test_it_runs_without_the_engine_and_with_the_packages_of_its_own_alone(reports):
    """On any machine with Python: of the suite it imports `evidence` alone, and no pytest."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(reports)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.lower().replace("_", "-").split())
    assert not loaded & {"pytest", "pylxd", "requests", "fixtures.plugin", "fixtures.incus"}
    pinned = re.findall("^([a-z0-9-]+)==", (ROOT / "requirements/verify.txt").read_text(), re.M)
    # A hook of setuptools is loaded with Python itself.
    assert loaded & {"package:pydantic", "package:pyyaml"}
    assert {n for n in loaded if n.startswith("package:")} <= {
        f"package:{name}" for name in (*pinned, "setuptools")
    }


def test_openssl_says_the_same(reports, key, other):
    """The three lines of the report, typed in the directory of a run."""
    run, pem = first_run(reports), key.with_suffix(".pub")
    lines = seal_check(read_evidence(run / "evidence.json"))
    page = unescape((run / "report.html").read_text())
    assert len(lines) == 3 and all(line in page for line in lines)

    def typed(public_key):
        text = "\n".join(lines).replace("KEY.pub", str(public_key))
        return subprocess.run(["bash", "-c", text], cwd=run, capture_output=True, text=True).stdout

    said = typed(pem)
    assert "Signature Verified Successfully" in said
    assert said.count(": as sealed") == 4 and "CHANGED" not in said
    assert "Verified Successfully" not in typed(other.with_suffix(".pub"))
    edited(run / "metrics.prom", "} 1.0", "} 0.0")
    assert "metrics.prom: CHANGED" in typed(pem)
    sealed = json.loads((run / SEAL_FILE).read_text())
    payload = base64.b64decode(sealed["payload"]).replace(b"report.html", b"report.htm1")
    sealed["payload"] = base64.b64encode(payload).decode()
    (run / SEAL_FILE).write_text(json.dumps(sealed, indent=2) + "\n")
    assert "Verified Successfully" not in typed(pem)
    der = subprocess.check_output(["openssl", "pkey", "-pubin", "-in", pem, "-outform", "DER"])
    assert public(key).keyid == hashlib.sha256(der).hexdigest()


def test_the_statement_is_one_of_in_toto(reports):
    sealed = json.loads((first_run(reports) / SEAL_FILE).read_text())
    assert sealed["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(sealed["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    names = {subject["name"] for subject in statement["subject"]}
    assert {"evidence.json", "report.html", "junit.xml", "metrics.prom"} < names
    result = statement["predicate"]
    assert (result["result"], result["failedTests"]) == ("PASSED", [])
    assert result["passedTests"] == ["step-ca-snapshot-rehearsal", "again"]
    judged = {resource["name"] for resource in result["configuration"]}
    assert judged == {"atlas.yaml", "runbook.md", "requirements/drills.txt", "suite"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o700 | 0o010])
def test_a_key_that_others_may_read_is_refused(key, mode, tmp_path):
    copy = Path(shutil.copy(key, tmp_path / "key"))
    copy.chmod(mode)
    with pytest.raises(UsageError, match="seal key .* others may read it"):
        read_signer(copy)


def test_what_is_no_key_is_refused_without_a_word_of_it(tmp_path):
    rsa = subprocess.check_output(["openssl", "genpkey", "-algorithm", "rsa"], text=True)
    for text in ("", "correct horse battery", "-----BEGIN PRIVATE KEY-----\nAAAA\n", rsa):
        path = tmp_path / "key"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(UsageError, match="no ed25519 private key") as caught:
            read_signer(path)
        assert "horse" not in str(caught.value) and caught.value.__cause__ is not None


def test_a_signer_shows_nothing_of_its_key(key):
    signer = Signer(key.read_bytes())
    secret = "".join(key.read_text().splitlines()[1:-1])
    assert secret not in repr(signer) and secret not in str(vars(signer))


def test_a_seal_is_compared_with_no_damaged_key(reports):
    with pytest.raises(seal.SealBroken):
        seal.open_seal(first_run(reports) / SEAL_FILE, [SealRecord(keyid="00", public_key="none")])


def test_a_pack_is_what_an_auditor_is_handed(reports, key, tmp_path, capsys):
    (reports / "index.html").write_text("<p>all runs")
    target = tmp_path / "pack.tar.gz"
    options = ["2026-01-02", "2026-01-03", f"--reports={reports}", f"--to={target}"]
    assert verify.pack_period([*options, option(key)]) == 0
    assert "2 runs, 4 drills: no fault" in capsys.readouterr().out
    with tarfile.open(target) as archive:
        names = archive.getnames()
        assert all(member.uname == "" for member in archive.getmembers())
    first, *packed = sorted(run.name for run in reports.glob("*/"))
    assert first not in str(names)
    assert {f"{run}/{SEAL_FILE}" for run in packed} < set(names)
    others = {"pack.json", "history.jsonl", "index.html", "auditors.md"}
    assert others < set(names) and any(name.endswith(".pub") for name in names)
    assert verify.verify_paths([str(target), option(key)]) == 0
    assert verify.pack_period(options) == 2, "what is there is never replaced"
    assert "is there already; name a new file" in capsys.readouterr().err


def packed(reports, year=2026):
    target = reports.parent / "pack.tar.gz"
    period = [f"{year}-01-01", f"{year}-12-31", f"--reports={reports}", f"--to={target}"]
    return target, verify.pack_period(period)


def test_a_pack_with_a_run_missing_says_so(reports, capsys):
    shutil.rmtree(sorted(reports.glob("*/"))[1])
    target, status = packed(reports)
    assert (status, target.exists()) == (3, True)
    assert "is missing" in capsys.readouterr().out


ARCHIVES = {
    "cut": lambda data, _: data[:-2000],
    "empty": lambda *_: b"",
    "no archive": lambda *_: b"x" * 4000,
    "its sum": lambda data, _: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:],
    "more behind it": lambda data, _: data + b"more",
    "a file twice": lambda data, run: with_member(data, f"{run}/report.html"),
    "outside of it": lambda data, _: with_member(data, "../outside"),
}


def with_member(data, name):
    return gzip.compress(tarfile.TarInfo(name).tobuf() + gzip.decompress(data))


@pytest.mark.parametrize("change", ARCHIVES.values(), ids=ARCHIVES)
def test_a_damaged_archive_is_named(reports, capsys, change):
    target, _ = packed(reports)
    target.write_bytes(change(target.read_bytes(), first_run(reports).name))
    assert verify.verify_paths([str(target)]) == 3
    assert f"FAULT {target}" in capsys.readouterr().out


@pytest.mark.parametrize("said", ["[]", "{}", "{", '{"from": 1, "to": 2, "runs": []}'])
def test_what_an_archive_says_of_itself_is_compared(reports, capsys, said):
    (reports / "pack.json").write_text(said)
    assert verify.verify_paths([str(reports)]) == 3
    assert f"FAULT {reports}/pack.json: " in capsys.readouterr().out


def test_linked_runs_are_packed_whole_and_no_hard_link_is_needed(reports, monkeypatch, capsys):
    run = first_run(reports)
    run.rename(reports.parent / "elsewhere")
    run.symlink_to(reports.parent / "elsewhere")
    monkeypatch.setattr(os, "link", lambda *_: 1 / 0)
    # Debian 12's Python 3.11.2 knows no filter for it.
    monkeypatch.delattr(tarfile.TarFile, "extractall")
    target, status = packed(reports)
    assert (status, verify.verify_paths([str(target)])) == (0, 0)
    assert "3 runs, 6 drills: no fault" in capsys.readouterr().out


def test_no_run_is_no_archive(reports, capsys):
    target, status = packed(reports, year=2025)
    assert (status, target.exists()) == (2, False)
    assert "no run below" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--key", "--tsa"])
@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"])
def test_what_is_no_key_or_certificate_is_named(tmp_path, option, pem, capsys):
    file = tmp_path / "pem"
    file.write_text(pem.format("PUBLIC KEY" if option == "--key" else "CERTIFICATE"))
    assert verify.verify_paths([str(tmp_path), f"{option}={file}"]) == 2
    assert f"{file}: there is no " in capsys.readouterr().err


def test_a_history_of_many_runs_is_verified_quickly(tmp_path, key):
    """1,000 runs in 5 s on 2 cores, of a quiet machine; here as against making their pages."""
    signer, more = signer_of(key), [drill(id=f"d{n}", variant=f"v{n}") for n in range(6)]
    for day in range(60):
        made = record(day, signer, drills=more, drills_made=6)
        write_run(tmp_path / "reports", made, signer)
    files = list((tmp_path / "reports").glob("*/evidence.json"))

    def ratio():
        before = worked()
        for file in files:
            render_page(read_evidence(file))
        rendered = worked()
        assert faults(tmp_path / "reports", public(key)) == []
        return (worked() - rendered) / (rendered - before)

    # Less than 2, also beside fifteen other processes: both use the machine's caches alike.
    assert any(ratio() < 4 for _ in range(3))


def worked():
    """Seconds of processors for this process and its children; what others do is not in it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


AUTHORITY = """
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa_answers]
serial = {0}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


class Authority:
    """A time stamp authority made by openssl."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        (directory / "serial").write_text("01\n")
        (directory / "cnf").write_text(AUTHORITY.format(directory))
        self.certificate = directory / "ca.pem"
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._openssl(
            *("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root"),
            *("-config", "/dev/null", "-addext", "basicConstraints=critical,CA:true"),
        )
        self._openssl(
            *("req", *new, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa"),
            *("-config", "/dev/null"),
        )
        self._openssl(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", "tsa.pem", "-extfile", "cnf", "-extensions", "tsa"),
        )

    def _openssl(self, *arguments, **options):
        return subprocess.run(
            ["openssl", *arguments], cwd=self.directory, check=True, capture_output=True, **options
        ).stdout

    def answer(self, request):
        (self.directory / "query").write_bytes(request)
        return self._openssl(
            *("ts", "-reply", "-config", "cnf", "-section", "tsa_answers", "-queryfile", "query"),
            *("-signer", "tsa.pem", "-inkey", "tsa.key"),
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa") / "one")


def stamped(reports, signer, authority, day=0):
    """A run with a time stamp, sealed as the product does it: the stamp is one of the files."""
    made = record(day, signer, timestamp="tsa.example")
    directory = write_run(reports, made)
    data = (directory / "evidence.json").read_bytes()
    (directory / STAMP_FILE).write_bytes(authority.answer(seal.stamp_request(data)))
    signer.sign(seal.statement_of(made, directory, None), directory / SEAL_FILE)
    return directory


def test_a_time_stamp_is_checked(tmp_path, key, authority):
    run = stamped(tmp_path / "reports", signer_of(key), authority)
    root = authority.certificate.read_bytes()
    assert verify.look_at_run(run, (public(key),), root).faults == []
    (note,) = verify.look_at_run(run).notes
    assert "the authority of its time stamp was not looked at" in note
    call = ["openssl", "ts", "-verify", "-data", "evidence.json", "-in", STAMP_FILE]
    said = subprocess.check_output([*call, "-CAfile", authority.certificate], cwd=run, text=True)
    assert "Verification: OK" in said
    data, answer = ((run / name).read_bytes() for name in ("evidence.json", STAMP_FILE))
    with pytest.raises(seal.SealBroken, match="of something else"):
        seal.check_stamp(answer, data + b" ", root)
    another = Authority(tmp_path / "another").certificate.read_bytes()
    with pytest.raises(seal.SealBroken, match="not of the authority"):
        seal.check_stamp(answer, data, another)
    (run / STAMP_FILE).unlink()
    assert any(f"{STAMP_FILE}: is missing" in fault for fault in faults(run))


def test_a_stamp_from_before_the_run_is_named(tmp_path, key, authority):
    """The run claims to have begun in some years: it has the date of a clock that was set."""
    run = stamped(tmp_path / "reports", signer_of(key), authority, day=100 * 365)
    (fault,) = faults(run)
    assert f"{STAMP_FILE}: is of " in fault and "before the run began" in fault


def test_an_older_history_line_keeps_its_place(tmp_path):
    """Two runs that end at once: each has its lines together, and the chain is whole."""
    for number in (1, 0):
        append_history(record(number), tmp_path / HISTORY_FILE, None)
    verify.look_at_history(tmp_path / HISTORY_FILE, [], result := verify.Result())
    assert len(result.faults) == 2 and all("is missing" in x.what for x in result.faults)
