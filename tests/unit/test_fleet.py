"""Fleet files: what is declared, and whole texts for what is wrong, with file, line and column."""

import os
import random
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fixtures.audit.policy import promises
from fixtures.errors import UsageError
from fixtures.fleet.load import HINT, SCHEMA, load_fleet, schema_text
from fixtures.fleet.model import declared_cells, filled, parse_size
from fixtures.lab.settings import IMAGES
from fixtures.services.registry import SERVICES

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "fixtures" / "lab" / "recipes"
ATLAS_FILE = ROOT / "fleets" / "atlas.yaml"
ATLAS = load_fleet(ATLAS_FILE)
POSTGRESQL = load_fleet(ROOT / "fleets" / "postgresql.yaml")
ERRORS = yaml.safe_load((ROOT / "tests/cases/fleet_errors.yaml").read_text())
CASES = [
    pytest.param(part["base"], case, id=f"{name}-{case['new'][:30]!r}")
    for name, part in ERRORS.items()
    for case in part["cases"]
]
SMALL, GENERIC = (ERRORS[name]["base"] for name in ("small", "generic"))
DAY = 86400


def loaded(tmp_path, text):
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_fleet(path)


def error_of(tmp_path, text):
    """Return the error for a file of that content, without the directory."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("base, case", CASES)
def test_a_wrong_field_is_reported_with_its_place(tmp_path, base, case):
    assert case["old"] in base
    wanted = "\n".join(f"f.yaml:{line}" for line in case["errors"]) + f"\nHINT: {HINT}"
    assert error_of(tmp_path, base.replace(case["old"], case["new"], 1)) == wanted


def test_small_fleets_are_valid(tmp_path):
    service = loaded(tmp_path, SMALL).service("one")
    assert (service.kind, service.owner.uid, service.image) == ("one", 10, None)
    assert service.volumes[0].size_bytes == 1024**3
    canary = loaded(tmp_path, GENERIC).services[0].canary
    assert (canary.user, canary.initialise, canary.observe, canary.absent) == (None, None, {}, ())
    assert filled(canary.write, id="a", value="b") == ["put", "a", "b"]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", "f.yaml: empty\nHINT: begin with a copy of fleets/atlas.yaml"),
        ("# only\n", f"f.yaml:1:1: holds no document, only comments\nHINT: {HINT}"),
        ("- 1\n", f"f.yaml:1:1: must be a mapping\nHINT: {HINT}"),
        (b"name: a\nx: \xff", "f.yaml:2:4: not UTF-8\nHINT: save the file as UTF-8"),
        ("[" * 5000, f"f.yaml:1:1: nested too deeply\nHINT: {HINT}"),
        ("a: 1\n---\nb: 2\n", f"f.yaml:2:1: not YAML: but found another document\nHINT: {HINT}"),
    ],
)
def test_a_file_that_is_no_fleet(tmp_path, content, wanted):
    assert error_of(tmp_path, content) == wanted


def is_refused(path):
    """Return whether the file is refused in words; a fleet is no fault either."""
    try:
        load_fleet(path)
    except UsageError as error:
        lines = error.message.splitlines()
        assert all(line.startswith(str(path)) for line in lines) and len(error.message) < 20_000
        assert error.message.isprintable() or "\n" in error.message
        return True
    return False


STRANGE = (
    *(b"\0" * 100, b"\x7fELF\x02\x01\x01" + bytes(range(256)), b"\xff\xfen\0a\0m\0e\0"),
    *(b"{" * 100_000, b"- " * 100_000, b"a: " * 1000, b"<<: {a: 1}\n", b"name: .nan\n", b"17"),
    *(b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", b"%YAML 9.9\n--- {}\n"),
    *(b"!!python/object/apply:os.system [id]", b"\x1b]0;title\x07: x\n"),
)


def test_strange_content_and_what_is_no_file_are_refused_in_words(tmp_path):
    path = tmp_path / "fleet.yaml"
    for content in STRANGE:
        path.write_bytes(content)
        assert is_refused(path), content[:20]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("", "none", "pipe", "loop", "x" * 300, "pipe/x"):
        assert is_refused(tmp_path / name)
    assert is_refused(Path("/dev/zero")) and is_refused(Path("/proc/self/mem"))
    with pytest.raises(UsageError, match="no such file"):
        load_fleet(tmp_path / "none")


VALUES = [
    *("~", "[]", "{}", "''", ".nan", ".inf", "-1", "1e999", "9" * 5000, "0472", "1:30", "yes"),
    *("2026-11-01", "2026-99-99", "!!binary x", "!!set {a}", "!!python/object:os.system x"),
    *("!!float x", "!!int 0x", "!!timestamp 1", "'\\ud800'", '"\\ud800"', '"\\x1b[2J"', "&a [*a]"),
    *("*gone", "<<: {}", "[" * 200, "{a: " * 200, "|\n  x", "> ", "\t", "%d", "@x", "`", "\x07"),
    *("!!str 5", "!<tag:x,y> z", "0x1F", "0b1", "1_0", "+1", "- - -", "? x", "null", "=", "'6M'"),
]


def test_any_value_in_any_place_is_taken_or_refused_in_words(tmp_path):
    lines, path, dice = GENERIC.splitlines(), tmp_path / "fleet.yaml", random.Random(17)
    places = [at for at, line in enumerate(lines) if ": " in line]
    refused = 0
    for value in VALUES:
        for at in dice.sample(places, 3):
            changed = [*lines]
            changed[at] = f"{changed[at].split(': ')[0]}: {value}"
            path.write_text("\n".join(changed), errors="surrogatepass")
            refused += is_refused(path)
    assert refused > 2 * len(VALUES)


def keys(node):
    """Yield every key of a tree: the mapping that holds it, and its index there."""
    if isinstance(node, yaml.MappingNode):
        for index, (_, value) in enumerate(node.value):
            yield node, index
            yield from keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from keys(item)


def drop(mapping, index):
    del mapping.value[index]


def rename(mapping, index):
    key, value = mapping.value[index]
    mapping.value[index] = (yaml.ScalarNode(key.tag, f"{key.value}x"), value)


@pytest.mark.parametrize("change", [drop, rename])
def test_any_key_dropped_or_renamed_is_valid_or_reported(tmp_path, change):
    path = tmp_path / "f.yaml"
    root = yaml.compose(ATLAS_FILE.read_text(), Loader=yaml.SafeLoader)
    refused = 0
    for mapping, index in random.Random(3).sample(list(keys(root)), 60):
        before = list(mapping.value)
        change(mapping, index)
        path.write_text(yaml.serialize(root, Dumper=yaml.SafeDumper))
        mapping.value = before
        refused += is_refused(path)
    assert refused


@pytest.mark.parametrize(
    "old, new, error",
    [
        ("retention: 7d", "retention: 6M", "'6M' is over before the next of '@daily' is made; M"),
        ("retention: 2w", "retention: 6d", "'6d' is over before the next of '@weekly' is made"),
        ("retention: 2w", "retention: 0d", "'0d' keeps nothing"),
        ("retention: 2w", "retention: 2 weeks", "is no retention; write"),
        ('"@daily"', '"0 24 * * *"', "backups.snapshot.schedule: '24' is no hour; cron has 0 to"),
        ("uid: 472", "uid: 0472", "YAML reads 0472 as 314; write that number"),
        ("uid: 472", "uid: 0x1d8", "YAML reads 0x1d8 as 472"),
        ("uid: 472", "uid: 4_72", "YAML reads 4_72 as 472"),
        ("port: 3000", "port: 50:00", "YAML reads 50:00 as 3000"),
        ("pool: local", "pool: local\ntargets: {rebuild: {title: x, seconds: .inf}}", "as inf"),
        *(
            ("    unit:", f"    {field}\n    unit:", f"services[0].{error}")
            for field, error in (
                ("live: 10.0.0.1:99999", "live: '10.0.0.1:99999' is neither HOST:PORT"),
                ("live: 10.0.0.256:80", "live: '10.0.0.256:80' is neither HOST:PORT"),
                ("live: None", "live: 'None' is neither HOST:PORT"),
                ("shrink: 10%", "shrink: must be a number, without quotes"),
                ("scenarios: [rebuild, rebuild]", "scenarios[1]: 'rebuild' is used twice"),
            )
        ),
    ],
)
def test_a_field_that_means_something_else_is_refused(tmp_path, old, new, error):
    text = ATLAS_FILE.read_text()
    assert old in text
    message = error_of(tmp_path, text.replace(old, new, 1))
    assert error in message and message.startswith("f.yaml:")


@pytest.mark.parametrize(
    "old, new",
    [
        *(("retention: 7d", f"retention: {kept}") for kept in ("1w 3d", "'07d'")),
        *(('"@daily"', f'"{at}"') for at in ("@Daily", "0  2 * * *", "@daily, 0 12 * * *")),
        ("    unit:", '    live: "10.0.0.1:9999"\n    unit:'),
    ],
)
def test_a_field_as_incus_takes_it_is_taken(tmp_path, old, new):
    loaded(tmp_path, ATLAS_FILE.read_text().replace(old, new, 1))


def test_other_braces_are_no_placeholders_and_tokens_are_not_filled_in_again(tmp_path):
    text = GENERIC.replace("[one, --version]", "[awk, '{ print $1 }', '[0-9]{3}', '{\"a\": {}}']")
    canary = loaded(tmp_path, text).services[0].canary
    assert filled(canary.version) == ["awk", "{ print $1 }", "[0-9]{3}", '{"a": {}}']
    assert filled(("{id}{value}",), id="{value}", value="v") == ["{value}v"]


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text):
    try:
        assert 0 < parse_size(text) < 2**63
    except ValueError as error:
        assert repr(text) in str(error)


def test_units_are_those_of_incus():
    sizes = {"100GB": 10**11, "1GiB": 2**30, "5kB": 5000, "5KiB": 5120, "7": 7}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("", "0GB", "-1GB", "1.5GB", "1 GB", "1gb", "8EiB", "٣GB", "1GB\n"):
        with pytest.raises(ValueError, match="is not"):
            parse_size(text)


def test_the_schema_next_to_the_fleet_is_current_and_named_first():
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "python -m fixtures.fleet.load"
    first = ATLAS_FILE.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_fleets_agree_with_the_images_of_the_lab():
    services = {s.name: s for s in (*ATLAS.services, *POSTGRESQL.services) if s.image}
    assert set(services) == {
        *("alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"),
        "postgresql",
    }
    for service in services.values():
        recipe = tomllib.loads((RECIPES / f"{service.image}.toml").read_text())
        users = {(user["name"], user["uid"], user["gid"]) for user in recipe.get("users", [])}
        assert (service.owner.user, service.owner.uid, service.owner.gid) in users
        assert f"{service.unit}.service" in recipe["enable"]
        owners = {entry["path"]: entry.get("owner") for entry in recipe.get("directories", [])}
        owner = f"{service.owner.uid}:{service.owner.gid}"
        assert owners.get(service.volumes[0].path, owner) == owner
        assert service.kind in SERVICES
    assert POSTGRESQL.images == ("postgresql",)
    assert set(ATLAS.images) == set(IMAGES)


def test_the_fleet_of_the_runbook():
    ca = ATLAS.service("step-ca").backups
    assert ca["encrypted-tarball"].offsite and ca["encrypted-tarball"].rpo_seconds == 7 * DAY
    assert ca["tarball"].schedule is None, "a plaintext copy of the keys is made by nobody"
    others = [service.backups for service in ATLAS.services if service.name != "step-ca"]
    assert {backups["tarball"].rpo_seconds for backups in others} == {7 * DAY}
    minutes = {name: target.seconds / 60 for name, target in ATLAS.targets.items()}
    assert minutes == {
        **{"snapshot": 15, "tarball": 30, "encrypted-tarball": 30, "native": 15, "rebuild": 15},
        **{"full-rebuild": 30, "full-rebuild-with-data": 60, "key-compromise": 120},
    }
    assumed = [name for name, target in ATLAS.targets.items() if target.source == "assumed"]
    assert assumed == ["encrypted-tarball", "native"]


def test_every_declared_cell_is_there_once():
    cells = declared_cells(ATLAS)
    assert len(cells) == len(set(cells))
    rehearsed = Counter(scenario for _, scenario, origin in cells if origin == "rehearsal")
    assert rehearsed == {
        **{"snapshot": 7, "tarball": 7, "encrypted-tarball": 1, "native": 3, "rebuild": 7},
        **{"full-rebuild": 1, "full-rebuild-with-data": 1, "key-compromise": 1},
    }
    assert {promise.place for promise in promises(ATLAS)} == set(cells), "one count for all pages"
    assert ("step-ca", "tarball", "existing") not in cells, "encrypted ones are made in their place"
    existing = {scenario for _, scenario, origin in cells if origin == "existing"}
    assert not existing & {"rebuild", "full-rebuild", "key-compromise"}
    others = {name for name, *_ in cells} - {service.name for service in ATLAS.services}
    assert others == {"atlas-terraform-state", "fleet"}
