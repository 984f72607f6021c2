"""What the reader of a wrong fleet file is told: whole texts, with file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from fixtures.errors import UsageError
from fixtures.fleet.load import HINT, load_fleet
from fixtures.fleet.model import Fleet

ATLAS = Path(__file__).parents[2] / "fleets" / "atlas.yaml"

SMALL = """\
name: lab
pool: local
source_project: lab
services:
  - name: one
    instance: one01
    unit: one
    criticality: low
    volumes:
      - name: one01-data
        path: /data
        size: 1GiB
        owner: {user: one, uid: 10, group: one, gid: 11}
    ports:
      - port: 80
    health: {protocol: http, port: 80, paths: [/]}
    backups:
      snapshot: {consistency: live}
"""


def told(tmp_path: Path, text: str | bytes) -> str:
    """The error for a file of that content, without the directory."""
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError) as caught:
        load_fleet(path)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_the_small_fleet_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(SMALL)
    service = load_fleet(path).service("one")
    assert (service.kind, service.owner.uid, service.image) == ("one", 10, None)
    assert service.volumes[0].size_bytes == 1024**3


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "    unit: one\n",
            "    unitt: one\n",
            [
                "5:5: services[0].unit: is missing",
                "7:5: services[0].unitt: is not a known key; did you mean unit?",
            ],
        ),
        (
            "uid: 10",
            'uid: "10"',
            ["13:28: services[0].volumes[0].owner.uid: must be a whole number, without quotes"],
        ),
        (
            "size: 1GiB",
            "size: 1GX",
            [
                (
                    "12:9: services[0].volumes[0].size: '1GX' is not a size; "
                    "write a whole number and a unit, as in 10GB or 10GiB"
                )
            ],
        ),
        (
            "snapshot: {consistency: live}",
            "snapshott: {consistency: lives}",
            [
                (
                    "18:7: services[0].backups.snapshott: must be snapshot, tarball, "
                    "encrypted-tarball or native, not 'snapshott'; did you mean snapshot?"
                ),
                (
                    "18:19: services[0].backups.snapshott.consistency: must be stop or live, "
                    "not 'lives'; did you mean live?"
                ),
            ],
        ),
        (
            "{consistency: live}\n",
            "{consistency: live}\n    depends_on: [two]\n",
            ["19:18: services[0].depends_on[0]: no service or bucket is named 'two'"],
        ),
        (
            "{consistency: live}\n",
            "{consistency: live}\n    depends_on: [one]\n",
            ["19:5: services[0].depends_on: services depend in a circle: one -> one"],
        ),
        (
            "protocol: http, port: 80",
            "protocol: http, port: 81",
            ["16:30: services[0].health.port: port 81 is not among the service's ports"],
        ),
        (
            "snapshot: {",
            "tarball: {",
            ["18:7: services[0].backups.tarball: an export needs a compression"],
        ),
        (
            "name: one\n",
            "name: fleet\n",
            ["5:5: services[0].name: 'fleet' is kept for drills of the whole fleet"],
        ),
        (
            "    unit: one\n",
            "    unit: one\n    unit: two\n",
            ["8:5: key 'unit' is here twice, first on line 7"],
        ),
        ("name: lab\n", "name: [lab\n", ["2:5: not YAML: expected ',' or ']', but got ':'"]),
        (
            "name: lab\n",
            "name: &a lab\n1: *a\n",
            ["2:4: aliases (*name) are not supported; write the value out"],
        ),
        ("name: lab\n", "name: lab\n1: 2\n", ["2:1: a key must be text; put it in quotes"]),
        ("name: lab", "name: !!int lab", ["1:7: not a value that YAML can read"]),
        ("name: lab", "name: !!timestamp lab", ["1:7: not a value that YAML can read"]),
        ("name: lab", "name: true", ["1:1: name: must be text; put it in quotes"]),
        ("name: lab", "name: la\x07b", ["1:9: not YAML: a control character"]),
    ],
)
def test_a_wrong_field_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, lines: list[str]
) -> None:
    assert old in SMALL
    wanted = "\n".join(f"f.yaml:{line}" for line in lines) + f"\nHINT: {HINT}"
    assert told(tmp_path, SMALL.replace(old, new, 1)) == wanted


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", "f.yaml: empty\nHINT: begin with a copy of fleets/atlas.yaml"),
        ("# only\n", f"f.yaml:1:1: holds no document, only comments\nHINT: {HINT}"),
        ("- 1\n", f"f.yaml:1:1: must be a mapping\nHINT: {HINT}"),
        (b"name: a\nx: \xff", "f.yaml:2:4: not UTF-8\nHINT: save the file as UTF-8"),
        ("#" * 1024 * 1024 + "\n", "f.yaml: larger than 1 MiB\nHINT: name a fleet file"),
        ("[" * 5000, f"f.yaml:1:22: nested too deeply\nHINT: {HINT}"),
        ("a: 1\n---\nb: 2\n", f"f.yaml:2:1: not YAML: but found another document\nHINT: {HINT}"),
    ],
)
def test_a_file_that_is_no_fleet(tmp_path: Path, content: str | bytes, wanted: str) -> None:
    assert told(tmp_path, content) == wanted


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as missing:
        load_fleet(tmp_path / "none.yaml")
    assert str(missing.value) == (
        f"{tmp_path}/none.yaml: no such file or directory\nHINT: name a fleet file that can be read"
    )
    with pytest.raises(UsageError) as directory:
        load_fleet(tmp_path)
    assert str(directory.value) == f"{tmp_path}: not a regular file\nHINT: name a fleet file"


def keys(node: yaml.Node) -> Iterator[tuple[yaml.MappingNode, int]]:
    """Every key of a tree: the mapping that holds it, and its index there."""
    if isinstance(node, yaml.MappingNode):
        for index, (_, value) in enumerate(node.value):
            yield node, index
            yield from keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from keys(item)


def drop(mapping: yaml.MappingNode, index: int) -> None:
    del mapping.value[index]


def rename(mapping: yaml.MappingNode, index: int) -> None:
    key, value = mapping.value[index]
    mapping.value[index] = (yaml.ScalarNode(key.tag, f"{key.value}x"), value)


@pytest.mark.parametrize("change", [drop, rename])
def test_any_one_key_dropped_or_renamed_is_valid_or_told(
    tmp_path: Path, change: Callable[[yaml.MappingNode, int], None]
) -> None:
    text, path = ATLAS.read_text(), tmp_path / "f.yaml"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None
    places = list(keys(root))
    assert len(places) > 200
    told_lines: list[str] = []
    for mapping, index in places:
        before = list(mapping.value)
        change(mapping, index)
        path.write_text(yaml.serialize(root, Dumper=yaml.SafeDumper))
        mapping.value = before
        try:
            assert isinstance(load_fleet(path), Fleet)
        except UsageError as error:
            told_lines += error.message.splitlines()
    assert told_lines
    assert [x for x in told_lines if not x.removeprefix(f"{path}:").split(":")[0].isdigit()] == []
