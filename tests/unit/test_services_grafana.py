"""Grafana's class against the stand-in's own program: the API's rules, canaries, the export."""

from __future__ import annotations

import io
import json
import signal
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from fixtures.errors import BackupDamaged, CouldNotLook, UsageError, WrongData
from fixtures.secrets import Secret
from fixtures.services import grafana as grafana_module
from fixtures.services.base import Canary, judge_canaries
from fixtures.services.grafana import (
    FIRST_PASSWORD,
    SETTINGS,
    TOKEN,
    TOKEN_FILE,
    UNREAD,
    Api,
    Bearer,
    Grafana,
    login_of_admin,
    token_of,
)
from fixtures.services.http import Way
from tests.unit.stand_ins import Loopback, Program, spec_of

Made = tuple[Grafana, Program]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Made]]:
    made: list[Made] = []

    def one(name: str) -> Made:
        data = tmp_path / name
        data.mkdir()
        program = Program("grafana", data)
        inside = Loopback(program)
        service = Grafana(spec_of("grafana"), inside)
        service.initialise()
        key, _, value = inside.pushed[FIRST_PASSWORD][0].decode().strip().partition("=")
        program.start({key: value})
        made.append((service, program))
        return made[-1]

    yield one
    for service, program in made:
        service.hang_up()
        if program.process is not None:
            program.stop()


@pytest.fixture
def grafana(make: Callable[[str], Made]) -> Grafana:
    return make("grafana")[0]


def saved(
    grafana: Grafana, body: dict[str, Any], statuses: tuple[int, ...] = (200,)
) -> dict[str, Any]:
    answer = grafana.api.must("POST", "/api/dashboards/db", statuses=statuses, json=body)
    return {**answer.json(), "code": answer.status_code}


def test_the_stand_in_says_that_it_is_one(grafana: Grafana) -> None:
    assert grafana.version() == "grafana stand-in 0.1 (API of 12.x)"
    assert json.loads(grafana.look_healthy())["database"] == "ok"


def test_the_first_password_is_roots_alone_and_in_no_argument(make: Callable[[str], Made]) -> None:
    service, program = make("one")
    assert service.password is not None
    assert isinstance(service.inside, Loopback)
    assert service.inside.pushed[FIRST_PASSWORD][1] == 0o600
    assert program.process is not None
    assert service.password.reveal() not in str(program.process.args)
    stored = b"".join(file.read_bytes() for file in program.data.iterdir())
    assert service.password.reveal().encode() not in stored


def test_a_clean_stop_leaves_one_file_and_a_start_reads_it(make: Callable[[str], Made]) -> None:
    service, program = make("one")
    canaries = service.write_canaries("g1")
    service.hang_up()
    assert program.stop() == 0
    assert [file.name for file in program.data.iterdir()] == ["grafana.db"]
    program.start()
    assert service.read_canaries(canaries) == {one.id: one.value for one in canaries}


def test_what_was_acknowledged_survives_a_kill(make: Callable[[str], Made]) -> None:
    service, program = make("one")
    canaries = service.write_canaries("g1")
    service.hang_up()
    assert program.stop(signal.SIGKILL) == -signal.SIGKILL
    program.start()
    assert service.read_canaries(canaries) == {one.id: one.value for one in canaries}


def test_canaries_of_two_generations_live_side_by_side(grafana: Grafana) -> None:
    first, later = grafana.write_canaries("g1"), grafana.write_canaries("later-1")
    kinds = [one.id.split(" ")[1] for one in first]
    assert sorted(set(kinds)) == [
        "dashboard",
        "data-source",
        "folder",
        "history",
        "preferences",
        "user",
    ]
    assert kinds.count("dashboard") == kinds.count("history") == kinds.count("folder") == 2
    assert not {one.id for one in first} & {one.id for one in later}
    assert not {one.value for one in first} & {one.value for one in later}
    ledger = judge_canaries(first, later, grafana.read_canaries([*first, *later]))
    assert sorted(ledger.recovered) == sorted(one.id for one in first)
    assert sorted(ledger.unexpected) == sorted(one.id for one in later)


def by_kind(canaries: list[Canary], kind: str) -> Canary:
    return next(one for one in canaries if one.id.split(" ")[1] == kind)


def test_a_changed_dashboard_and_its_history_are_seen(grafana: Grafana) -> None:
    canaries = grafana.write_canaries("g1")
    key = by_kind(canaries, "dashboard").key
    shown = grafana.api.must("GET", f"/api/dashboards/uid/{key}").json()
    assert shown["dashboard"]["version"] == 2
    changed = {**shown["dashboard"], "title": "other"}
    saved(grafana, {"dashboard": changed, "folderUid": shown["meta"]["folderUid"]})
    ledger = judge_canaries(canaries, [], grafana.read_canaries(canaries))
    assert ledger.changed == [f"g1 {kind} {key}" for kind in ("dashboard", "history")]


def test_a_dashboard_in_another_folder_is_changed(grafana: Grafana) -> None:
    canaries = grafana.write_canaries("g1")
    key = by_kind(canaries, "dashboard").key
    shown = grafana.api.must("GET", f"/api/dashboards/uid/{key}").json()
    saved(grafana, {"dashboard": shown["dashboard"]})
    assert (
        f"g1 dashboard {key}"
        in judge_canaries(canaries, [], grafana.read_canaries(canaries)).changed
    )


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("dashboard", "/api/dashboards/uid/{}"),
        ("data-source", "/api/datasources/uid/{}"),
        ("folder", "/api/folders/{}"),
    ],
)
def test_what_is_deleted_is_lost(grafana: Grafana, kind: str, path: str) -> None:
    canaries = grafana.write_canaries("g1")
    key = by_kind(canaries, kind).key
    grafana.api.must("DELETE", path.format(key))
    lost = judge_canaries(canaries, [], grafana.read_canaries(canaries)).lost
    assert f"g1 {kind} {key}" in lost


def test_a_user_whose_password_does_not_open_the_door_is_changed(grafana: Grafana) -> None:
    user = by_kind(grafana.write_canaries("g1"), "user")
    grafana._passwords[user.key] = Secret("another")
    assert judge_canaries([user], [], grafana.read_canaries([user])).changed == [user.id]


def test_an_administrator_who_is_refused_means_other_data(grafana: Grafana) -> None:
    canaries = grafana.write_canaries("g1")
    grafana.password = Secret("another")
    with pytest.raises(WrongData, match="refuses the administrator whom it knew before the loss"):
        grafana.read_canaries(canaries)


def test_proofs_hold_and_leave_nothing(grafana: Grafana) -> None:
    assert [proof.held for proof in grafana.prove()] == [True, True, True]
    assert list(grafana.api.hits("dash-db")) == []


def board(**more: Any) -> dict[str, Any]:
    return {"dashboard": {"uid": "one", "title": "One", **more}}


def test_a_save_over_a_newer_version_is_refused_unless_it_overwrites(grafana: Grafana) -> None:
    assert saved(grafana, board())["version"] == 1
    assert saved(grafana, board(version=1))["version"] == 2
    stale = saved(grafana, board(version=1), (412,))
    assert stale["status"] == "version-mismatch"
    assert saved(grafana, {**board(version=1), "overwrite": True})["version"] == 3


def test_the_uid_of_another_dashboard_is_refused(grafana: Grafana) -> None:
    first = saved(grafana, board())
    saved(grafana, board(uid="two"))
    clash = saved(grafana, board(id=first["id"], uid="two", version=1), (412,))
    assert clash["status"] == "name-exists"


@pytest.mark.parametrize("body", [{}, board(title=" "), board(uid="no/uid"), board(uid="x" * 41)])
def test_a_wrong_dashboard_is_refused(grafana: Grafana, body: dict[str, Any]) -> None:
    assert saved(grafana, body, (400,))["message"]


def test_an_unknown_folder_is_refused(grafana: Grafana) -> None:
    assert saved(grafana, {**board(), "folderUid": "none"}, (400,))["code"] == 400


def test_folders_are_nested_and_made_once(grafana: Grafana) -> None:
    api = grafana.api
    for uid, parent in (("top", ""), ("mid", "top"), ("low", "mid")):
        body = {"uid": uid, "title": uid, "parentUid": parent}
        api.must("POST", "/api/folders", json=body)
    assert [one["uid"] for one in api.shown("/api/folders/low")["parents"]] == ["top", "mid"]
    api.must("POST", "/api/folders", statuses=(409,), json={"uid": "top", "title": "x"})
    api.must("PUT", "/api/folders/top", statuses=(412,), json={"title": "x", "version": 7})
    assert api.must("PUT", "/api/folders/top", json={"title": "x", "version": 1}).json()["version"]
    assert [one["uid"] for one in api.shown("/api/folders", params={"parentUid": "top"})] == ["mid"]


def test_the_search_is_by_type_and_page(grafana: Grafana, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        saved(grafana, board(uid=f"d{number}", title=f"D{number}"))
    grafana.api.must("POST", "/api/folders", json={"uid": "f", "title": "F"})
    page = {"type": "dash-db", "limit": 3, "page": 3}
    assert [hit["uid"] for hit in grafana.api.shown("/api/search", params=page)] == ["d6"]
    assert len(grafana.api.shown("/api/search")) == 8
    monkeypatch.setattr(grafana_module, "PAGE", 3)
    assert [hit["uid"] for hit in grafana.api.hits("dash-db")] == [f"d{n}" for n in range(7)]
    assert [hit["uid"] for hit in grafana.api.hits("dash-folder")] == ["f"]


def test_a_search_that_ignores_the_page_is_told(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(grafana, board())
    whole = Api.must
    monkeypatch.setattr(
        Api, "must", lambda self, method, path, **_: whole(self, method, path, params={"page": "1"})
    )
    with pytest.raises(CouldNotLook, match="shows dash-db one on two pages"):
        list(grafana.api.hits("dash-db"))


def test_a_token_reads_but_is_no_server_administrator(grafana: Grafana) -> None:
    api = grafana.api
    made = api.must("POST", "/api/serviceaccounts", statuses=(201,), json={"name": "drill"}).json()
    path = f"/api/serviceaccounts/{made['id']}/tokens"
    key = api.must("POST", path, json={"name": "t"}).json()["key"]
    reader = Api(grafana.way, Bearer(Secret(key)), is_ours=False)
    assert reader.shown("/api/search") == []
    reader.must("GET", "/api/users/lookup", statuses=(403,), params={"loginOrEmail": "admin"})
    reader.must("POST", "/api/dashboards/db", statuses=(403,), json=board())
    stranger = Api(grafana.way, Bearer(Secret("glsa_unknown")), is_ours=False)
    with pytest.raises(CouldNotLook, match="refuses the token") as caught:
        stranger.shown("/api/search")
    assert "glsa_unknown" not in str(caught.value)


def test_what_is_not_documented_is_not_there(grafana: Grafana) -> None:
    assert grafana.api.shown("/api/dashboards/uid/none") is None
    grafana.api.must("POST", "/api/search", statuses=(404,))
    grafana.api.must("POST", "/api/folders", statuses=(400,), data=b"[")


def test_the_token_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("glsa_file\n")
    assert token_of({TOKEN_FILE: str(tmp_path / "token")}).reveal() == "glsa_file"
    assert token_of({TOKEN: "glsa_variable"}).reveal() == "glsa_variable"


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "neither ATLAS_DRILLS_GRAFANA_TOKEN_FILE nor ATLAS_DRILLS_GRAFANA_TOKEN is set"),
        ({TOKEN: "a", TOKEN_FILE: "b"}, "are set; Grafana was not asked"),
        ({TOKEN_FILE: "/nowhere"}, "is /nowhere: it cannot be read"),
        ({TOKEN_FILE: "/dev/null"}, "ATLAS_DRILLS_GRAFANA_TOKEN_FILE holds no token"),
    ],
)
def test_missing_credentials_are_told(env: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        token_of(env)
    assert told in caught.value.message
    assert caught.value.hint


def test_a_history_is_read_in_both_of_its_forms() -> None:
    rows = [{"version": 2, "message": "b", "id": 9}, {"version": 1, "message": "a", "id": 8}]
    old, new = rows, {"continueToken": "", "versions": rows}
    assert grafana_module.canonical_history(old) == grafana_module.canonical_history(new)
    other = [rows[0], {**rows[1], "message": "c"}]
    assert grafana_module.canonical_history(old) != grafana_module.canonical_history(other)


def test_an_export_brings_folders_and_dashboards_into_an_empty_grafana(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grafana_module, "PAGE", 1)
    (old, _), (new, _) = make("old"), make("new")
    canaries = [*old.write_canaries("g1"), *old.write_canaries("g2")]
    export = old.export_native(tmp_path)
    assert export.stat().st_mode & 0o777 == 0o600
    new.import_native(export)
    new._passwords = old._passwords
    held = [one for one in canaries if old.is_in_native(one)]
    assert len(held) == 8
    assert judge_canaries(held, [], new.read_canaries(held)).faults == []
    rest = [one for one in canaries if not old.is_in_native(one)]
    ledger = judge_canaries(rest, [], new.read_canaries(rest))
    assert ledger.recovered == []
    assert {name.split(" ")[1] for name in ledger.changed} == {"history"}


def test_an_import_over_what_is_there_overwrites_it(grafana: Grafana, tmp_path: Path) -> None:
    canaries = [one for one in grafana.write_canaries("g1") if grafana.is_in_native(one)]
    export = grafana.export_native(tmp_path)
    key = by_kind(canaries, "dashboard").key
    saved(grafana, {**board(uid=key), "overwrite": True})
    folder = by_kind(canaries, "folder").key
    grafana.api.must("PUT", f"/api/folders/{folder}", json={"title": "x", "overwrite": True})
    assert len(judge_canaries(canaries, [], grafana.read_canaries(canaries)).changed) == 2
    grafana.import_native(export)
    assert judge_canaries(canaries, [], grafana.read_canaries(canaries)).faults == []


def small(tmp_path: Path) -> Path:
    folders = [{"uid": "f", "title": "F", "parentUid": ""}]
    dashboards = [{"folderUid": "f", "dashboard": {"uid": "d", "title": "D"}}]
    export = grafana_module.Export(folders, dashboards)
    path = grafana_module.write(export, "grafana x", tmp_path)
    assert grafana_module.read(path) == export
    return path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with tarfile.open(path) as tar:
        texts = {entry.name: (tar.extractfile(entry) or io.BytesIO()).read() for entry in tar}
    change(texts)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("dashboards/d.json"), "member dashboards/d.json is missing"),
        (lambda t: t.update({"folders/f.json": b"{}"}), "member folders/f.json has another SHA"),
        (lambda t: t.update({"extra": b""}), "member extra is not in the manifest"),
        (lambda t: t.pop("manifest.json"), "member manifest.json is no JSON object"),
        (lambda t: t.update({"manifest.json": b"{}"}), "member manifest.json does not say"),
    ],
)
def test_a_broken_export_is_named(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], told: str
) -> None:
    with pytest.raises(BackupDamaged) as caught:
        grafana_module.read(rewritten(small(tmp_path), change))
    assert told in caught.value.message
    assert caught.value.message.endswith("; nothing was imported")


def test_every_cut_and_every_flipped_byte_of_an_export_is_seen(tmp_path: Path) -> None:
    path = small(tmp_path)
    whole = path.read_bytes()
    # Bytes 4 to 9 of gzip's header are a time stamp and flags for no reader.
    for place in [0, *range(10, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:place])
        with pytest.raises(BackupDamaged, match="member"):
            grafana_module.read(path)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BackupDamaged):
            grafana_module.read(path)


def test_a_broken_export_is_never_begun(grafana: Grafana, tmp_path: Path) -> None:
    grafana.write_canaries("g1")
    export = grafana.export_native(tmp_path)
    export.write_bytes(export.read_bytes()[:-9])
    before = list(grafana.api.hits("dash-db"))
    with pytest.raises(BackupDamaged):
        grafana.import_native(export)
    assert list(grafana.api.hits("dash-db")) == before


def forged(grafana: Grafana, monkeypatch: pytest.MonkeyPatch, *rules: tuple[str, str, int, Any]):
    """Answer requests whose method and path begin so with a status and a body, as others do."""
    whole = Way.ask

    def ask(self: Way, method: str, path: str, **options: Any) -> requests.Response:
        for verb, start, status, body in rules:
            if verb == method and path.startswith(start):
                answer = requests.Response()
                answer.status_code, answer._content = status, json.dumps(body).encode()
                return answer
        return whole(self, method, path, **options)

    monkeypatch.setattr(Way, "ask", ask)


@pytest.mark.parametrize(("status", "held"), [(412, True), (409, True), (200, False)])
def test_a_stale_save_is_refused_in_either_way(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, status: int, held: bool
) -> None:
    whole = Api.must

    def must(self: Api, method: str, path: str, **options: Any) -> requests.Response:
        answer = whole(self, method, path, **options)
        if answer.status_code == 412:
            answer.status_code = status
        return answer

    monkeypatch.setattr(Api, "must", must)
    assert grafana._saving().held is held


@pytest.mark.parametrize(("line", "held"), [("enabled = true", True), (";enabled = true", False)])
def test_anonymous_access_is_a_fault_only_where_nobody_configured_it(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, line: str, held: bool
) -> None:
    assert isinstance(grafana.inside, Loopback)
    grafana.inside.pushed[SETTINGS] = (f"app_mode = x\n[auth.anonymous]\n{line}\n".encode(), 0o644)
    forged(grafana, monkeypatch, ("GET", "/api/search", 200, []))
    assert grafana._strangers().held is held


def test_the_administrator_may_have_another_login(grafana: Grafana) -> None:
    inside, spec = grafana.inside, grafana.spec
    assert isinstance(inside, Loopback)
    assert login_of_admin(inside, spec) == "admin"
    inside.pushed[SETTINGS] = (b"[security]\nadmin_user = root\n", 0o644)
    assert login_of_admin(inside, spec) == "root"
    inside.pushed[SETTINGS] = (b"[auth.basic]\nenabled = false\n", 0o644)
    with pytest.raises(CouldNotLook, match="basic authentication is off"):
        login_of_admin(inside, spec)


def test_a_refused_password_of_a_copy_is_no_wrong_data(grafana: Grafana) -> None:
    grafana.password, grafana._is_ours = Secret("another"), False
    with pytest.raises(CouldNotLook, match="refuses the token or password"):
        grafana.holdings(datetime.now(UTC))


def test_a_dashboard_of_schema_v2_is_named_and_the_others_go_on(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid in ("old", "v2"):
        saved(grafana, board(uid=uid, title=uid))
    forged(grafana, monkeypatch, ("GET", "/api/dashboards/uid/v2", 406, {}))
    held = {one.id: one for one in grafana.holdings(datetime.now(UTC))}
    assert held["dashboards: all"].count == 1
    assert f"{UNREAD}: v2" in held
    export = grafana_module.collect(grafana.api)
    assert [one["dashboard"]["uid"] for one in export.dashboards] == ["old"]
    assert export.left_out == ["dashboard v2 is not in the export: it has schema v2"]


def test_an_import_has_library_panels_first_and_no_provisioned_dashboard(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for uid in ("own", "given"):
        saved(grafana, board(uid=uid, title=uid))
    given = {"dashboard": {"uid": "given"}, "meta": {"provisioned": True}}
    panel = {
        "uid": "p",
        "name": "P",
        "kind": 1,
        "model": {"type": "text"},
        "folderUid": "",
        "id": 7,
    }
    pages = [{"result": {"elements": [panel]}}, {"result": {"elements": []}}]
    rules = ("GET", "/api/dashboards/uid/given", 200, given)
    monkeypatch.setattr(Api, "shown", lambda *_, **__: pages.pop(0))
    forged(grafana, monkeypatch, rules)
    path = grafana_module.write(grafana_module.collect(grafana.api), "grafana 12", tmp_path)
    export = grafana_module.read(path)
    posted: list[str] = []
    monkeypatch.setattr(
        Api, "must", lambda _, method, path, **__: posted.append(path) or requests.Response()
    )
    told = grafana_module.put(export, grafana.api)
    assert posted == ["/api/library-elements", "/api/dashboards/db"]
    assert told == ["dashboard given is not in the export: it is provisioned"]


def test_without_a_sqlite_inside_the_database_is_checked_here(
    make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, program = make("one")
    assert [proof.held for proof in service._integrity()] == [True]
    program.stop()
    whole = (program.data / "grafana.db").read_bytes()
    (program.data / "grafana.db").write_bytes(whole[:4096] + b"\x55" * (len(whole) - 4096))
    assert [proof.held for proof in service._integrity()] == [False]
