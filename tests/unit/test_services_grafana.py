"""Grafana's class against an imitation: canaries, proofs, accounts, the export."""

import base64
import gzip
import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import pytest
import requests
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fixtures.errors import BackupDamaged, CouldNotLook, UsageError, WrongData
from fixtures.secrets import Secret
from fixtures.services import grafana as module
from fixtures.services.base import judge_canaries
from fixtures.services.grafana import FIRST_PASSWORD, TOKEN, TOKEN_FILE, Grafana, open_secret
from fixtures.services.http import HttpClient
from tests.imitations.instance import FILES, Loopback, Program, spec_of

NOW = datetime.now(UTC)


class Instance(Loopback):
    """An instance in which Grafana's own program is the imitation's."""

    def must_exec(self, argv, *, timeout=30):
        if "reset-admin-password" not in argv[2]:
            return super().must_exec(argv, timeout=timeout)
        file, _, _, data = argv[4:]
        words = ["cli", f"cfg:default.paths.data={data}", "admin", "reset-admin-password"]
        command = [sys.executable, str(FILES / "grafana.py"), *words, "--password-from-stdin"]
        subprocess.run(command, input=self.pushed[file][0], check=True, timeout=timeout)
        return ""


@pytest.fixture
def make(tmp_path):
    with ExitStack() as stack:

        def make_grafana(name):
            (data := tmp_path / name).mkdir()
            program = Program(data, "grafana.py", "server")
            service = Grafana(spec_of("grafana", data), Instance(program))
            service.initialise()
            line = service.inside.pushed[FIRST_PASSWORD][0].decode().strip()
            program.env = dict([line.split("=", 1)])
            program.start()
            stack.callback(program.stop)
            stack.callback(service.close)
            return service

        yield make_grafana


@pytest.fixture
def grafana(make):
    return make("grafana")


def execute(grafana, *statements):
    with closing(sqlite3.connect(f"{grafana.data}/grafana.db")) as database:
        for statement, *values in statements:
            database.execute(statement, values)
        database.commit()


def sealed(text, key):
    """Encrypt as Grafana does by AES-GCM (pkg/util/encryption.go)."""
    salt, nonce = b"saltsalt", b"n" * 12
    made = hashlib.pbkdf2_hmac("sha256", key, salt, 10_000, 32)
    return b"*YWVzLWdjbQ*" + salt + nonce + AESGCM(made).encrypt(nonce, text, None)


def test_secrets_are_opened_as_grafana_does():
    # By `openssl enc -aes-256-cfb`, with the salt and vector of Grafana's own test.
    cfb = b"abcdefgh1234567890124567" + bytes.fromhex("f1114227cb6af678cad6ee35f67f25f40b")
    assert module.decrypt(cfb, b"secret here") == b"grafana unit test"
    inner, right, wrong = b"0123456789abcdef", Secret("right"), Secret("wrong")
    keys = {"k1": sealed(inner, b"right")}
    old, new = sealed("pässword".encode(), b"right"), b"#azE#" + sealed(b"p" * 9, inner)
    assert open_secret(old, {}, right) and open_secret(new, keys, right)
    assert open_secret(cfb, {}, Secret("secret here"))
    for secret, known, key in (
        (old, {}, wrong),
        (new, keys, wrong),
        (new, {}, right),  # its data key is gone
        (old[:15], {}, right),
        (cfb, {}, wrong),
        (cfb[:20], {}, Secret("secret here")),
    ):
        assert not open_secret(secret, known, key)


@pytest.mark.parametrize(
    ("key", "second", "held", "said"),
    [
        ("right", b"tokentoken", True, "2 secrets of data sources"),
        ("wrong", b"tokentoken", True, "NONE opens"),
        ("right", bytes(range(128, 160)), False, "token of b does not open"),
    ],
)
def test_what_opens_of_secrets_is_said_and_only_some_that_do_not_are_damaged(
    grafana, monkeypatch, key, second, held, said
):
    for name, text in (("a", b"password"), ("b", second)):
        stored = json.dumps({"token": base64.b64encode(sealed(text, b"right")).decode()})
        execute(grafana, ("INSERT INTO data_source VALUES (NULL, ?, ?)", name, stored))
    monkeypatch.setattr(Grafana, "_secret_key", lambda _: Secret(key))
    proof = grafana._check_secrets("secrets")
    assert proof.held is held and said in proof.detail


def test_the_secret_key_is_found_where_grafana_finds_it(grafana):
    pushed = grafana.inside.pushed
    with pytest.raises(CouldNotLook, match="no secret_key"):
        grafana._secret_key()
    default, own = "/usr/share/grafana/conf/defaults.ini", "/etc/grafana/grafana.ini"
    pushed[default] = (b"app_mode = x\n[security]\nsecret_key = given\n", 0)
    assert grafana._secret_key().reveal() == "given"
    pushed[own] = (b"[security]\n;secret_key = x\nsecret_key = $__file{/k}\n", 0)
    pushed["/k"] = (b"in a file\n", 0)
    assert grafana._secret_key().reveal() == "in a file"
    pushed[own] = (b"[security]\nsecret_key = $__env{K}\n", 0)
    with pytest.raises(CouldNotLook, match="names a variable"):
        grafana._secret_key()


def save(grafana, uid, **more):
    body = {"dashboard": {"uid": uid, "title": uid}, "overwrite": True, **more}
    grafana.request_ok("POST", "/api/dashboards/db", json=body)


def forge(monkeypatch, *rules):
    """Answer requests whose method and path begin so with a status and a body."""
    real = HttpClient.request

    def request(self, method, path, **options):
        for verb, start, status, body in rules:
            if verb == method and path.startswith(start):
                answer = requests.Response()
                answer.status_code, answer._content = status, json.dumps(body).encode()
                return answer
        return real(self, method, path, **options)

    monkeypatch.setattr(HttpClient, "request", request)


def test_the_first_password_is_roots_alone_and_in_no_argument(grafana):
    program, password = grafana.inside.program, grafana.password.reveal()
    assert grafana.inside.pushed[FIRST_PASSWORD][1] == 0o600
    assert password not in str(program.process.args)
    assert password.encode() not in b"".join(file.read_bytes() for file in program.data.iterdir())


def test_canaries_of_two_generations_are_kept_apart(grafana):
    first, later = grafana.write_canaries("g1"), grafana.write_canaries("later-1")
    twice = ["folder", "dashboard", "history"]
    kinds = [canary.id.split(" ")[1] for canary in first]
    assert sorted(kinds) == sorted([*twice, *twice, "data-source", "user", "preferences"])
    assert not {canary.value for canary in first} & {canary.value for canary in later}
    ledger = judge_canaries(first, later, grafana.read_canaries([*first, *later]))
    assert ledger.recovered == [canary.id for canary in first]
    assert ledger.unexpected == [canary.id for canary in later]
    assert grafana.read_facts_remotely() == {"number of dashboards": "4", "number of folders": "4"}


def test_every_change_of_a_dashboard_and_each_loss_is_seen(grafana):
    canaries = grafana.write_canaries("g1")
    overview, details = uids = [f"drill-g1-{name}" for name in ("overview", "details")]
    for uid, change in ((overview, {"title": "x"}), (details, {})):
        shown = grafana.get_json("GET", f"/api/dashboards/uid/{uid}")["dashboard"]
        folder = {"folderUid": "drill-g1"} if change else {}  # the second is put elsewhere
        save(grafana, uid, dashboard={**shown, **change}, **folder)
    grafana._passwords["drill-g1"] = Secret("another")
    grafana.request_ok("DELETE", "/api/datasources/uid/drill-g1")
    grafana.request_ok("DELETE", "/api/folders/drill-g1-inner")
    ledger = judge_canaries(canaries, [], grafana.read_canaries(canaries))
    changed = [f"g1 {kind} {uid}" for kind in ("dashboard", "history") for uid in uids]
    assert ledger.changed == [*changed, "g1 user drill-g1"]
    assert ledger.lost == ["g1 folder drill-g1-inner", "g1 data-source drill-g1"]


def test_a_refused_account_means_other_data_only_where_the_drill_has_set_it_up(
    grafana, monkeypatch
):
    other = Grafana(grafana.spec, grafana.inside)
    with pytest.raises(UsageError, match="no credentials for Grafana"):
        other.list_items(NOW)
    other.take_credentials(grafana.credentials)
    canaries = grafana.write_canaries("g1")
    assert other.list_items(NOW) == grafana.list_items(NOW) != []
    grafana.password = Secret("another")
    with pytest.raises(WrongData, match="refuses the administrator whom it knew before the loss"):
        grafana.read_canaries(canaries)
    other.take_credentials(grafana.password)
    with pytest.raises(CouldNotLook, match="refuses the token or password"):
        other.list_items(NOW)
    other.password = None
    monkeypatch.setenv(TOKEN, "glsa_unknown")
    with pytest.raises(CouldNotLook, match="refuses the token") as caught:
        other.list_items(NOW)
    assert "glsa_unknown" not in str(caught.value)
    other.close()


def test_the_administrator_of_a_copy_gets_a_new_password_whatever_the_login(grafana, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    save(grafana, "d")
    execute(grafana, ("UPDATE user SET login = 'root' WHERE id = 1",))
    copy = Grafana(grafana.spec, grafana.inside)
    copy.gain_access()
    assert list(copy.dashboards()) == ["d"]
    copy.close()


def test_a_damaged_or_absent_database_is_seen(grafana):
    save(grafana, "d")
    grafana.inside.program.stop()
    file = grafana.inside.program.data / "grafana.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\x55" * (len(whole) - 4096))
    assert grafana._check_integrity("whole").held is False
    file.unlink()
    with pytest.raises(CouldNotLook, match="there is no .*/grafana.db in imitation01"):
        grafana._check_integrity("whole")


def test_a_dashboard_that_does_not_open_is_seen(grafana, monkeypatch):
    save(grafana, "d")
    assert grafana._check_dashboards("open").counts == {"dashboards": 1}
    monkeypatch.setattr(Grafana, "hits", lambda *_: ["d", "lost"])
    proof = grafana._check_dashboards("open")
    assert proof.held is False and "dashboard lost: status 404" in proof.detail


def test_dashboards_of_its_organisation_are_read_from_the_table_that_has_them(grafana, monkeypatch):
    rows = "('a', 0, 1, NULL), ('f', 1, 1, NULL), ('other', 0, 2, NULL), ('gone', 0, 1, '2026')"
    table = "CREATE TABLE dashboard (uid TEXT, is_folder INT, org_id INT, deleted TEXT)"
    execute(grafana, (table,), (f"INSERT INTO dashboard VALUES {rows}",))
    monkeypatch.setattr(Grafana, "get_json", lambda *_: 1)
    assert grafana._uids_in_database() == ["a"]
    execute(grafana, ("CREATE TABLE resource AS SELECT 'dashboards' AS resource",))
    assert grafana._uids_in_database() == [], "they have moved to another table"


@pytest.mark.parametrize(("status", "held"), [(412, True), (409, True), (200, False)])
def test_a_stale_save_is_refused_by_either_status(grafana, monkeypatch, status, held):
    real = Grafana.request_ok

    def request_ok(self, method, path, **options):
        answer = real(self, method, path, **options)
        answer.status_code = {412: status}.get(answer.status_code, answer.status_code)
        return answer

    monkeypatch.setattr(Grafana, "request_ok", request_ok)
    saving, refusal = grafana.active_checks()
    assert (saving.held, refusal.held) == (held, True)
    assert grafana.hits("dash-db") == [], "it leaves nothing"


@pytest.mark.parametrize(
    ("status", "enabled", "held"), [(200, "true", True), (200, "false", False), (403, "", None)]
)
def test_anonymous_access_is_a_fault_only_where_it_is_not_configured(
    grafana, monkeypatch, status, enabled, held
):
    settings = {"auth.anonymous": {"enabled": enabled}}
    open_to_all = ("GET", "/api/search", 200, [])
    forge(monkeypatch, open_to_all, ("GET", "/api/admin/settings", status, settings))
    assert grafana._check_refusal().held is held


def test_the_search_is_read_page_after_page(grafana, monkeypatch):
    uids = [f"d{number}" for number in range(7)]
    for uid in uids:
        save(grafana, uid)
    monkeypatch.setattr(module, "PAGE", 3)
    assert grafana.hits("dash-db") == uids
    forge(monkeypatch, ("GET", "/api/search", 200, [{"uid": "d0"}]))
    with pytest.raises(CouldNotLook, match="shows dash-db d0 on two pages"):
        grafana.hits("dash-db")


def test_a_history_is_read_in_both_of_its_forms():
    rows = [{"version": 2, "message": "b", "id": 9}, {"version": 1, "message": "a", "id": 8}]
    old, new = rows, {"continueToken": "", "versions": rows}
    assert module.canonical_history(old) == module.canonical_history(new)
    other = [rows[0], {**rows[1], "message": "c"}]
    assert module.canonical_history(old) != module.canonical_history(other)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "neither ATLAS_DRILLS_GRAFANA_TOKEN_FILE nor ATLAS_DRILLS_GRAFANA_TOKEN is set"),
        ({TOKEN: "a", TOKEN_FILE: "b"}, "are set; Grafana was not asked"),
        ({TOKEN_FILE: "/nowhere"}, "is /nowhere: it cannot be read"),
        ({TOKEN_FILE: "/dev/null"}, "ATLAS_DRILLS_GRAFANA_TOKEN_FILE holds no token"),
    ],
)
def test_the_token_comes_from_a_file_or_a_variable(tmp_path, env, message):
    (tmp_path / "token").write_text("glsa_file\n")
    assert module.token_of({TOKEN_FILE: str(tmp_path / "token")}).reveal() == "glsa_file"
    assert module.token_of({TOKEN: "glsa_variable"}).reveal() == "glsa_variable"
    with pytest.raises(UsageError, match=message) as caught:
        module.token_of(env)
    assert caught.value.hint


def faults_of(grafana, canaries):
    return judge_canaries(canaries, [], grafana.read_canaries(canaries)).faults


def test_an_export_brings_folders_and_dashboards_and_writes_over_what_is_there(
    make, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PAGE", 1)
    old, new = make("old"), make("new")
    canaries = [*old.write_canaries("g1"), *old.write_canaries("g2")]
    held = [canary for canary in canaries if old.is_in_native(canary)]
    assert [canary.id.split()[1] for canary in held] == 2 * ["folder", "folder", *2 * ["dashboard"]]
    export = old.export_native(tmp_path)
    assert export.stat().st_mode & 0o777 == 0o600
    assert new.import_native(export) == []
    assert faults_of(new, held) == []
    save(new, "drill-g1-overview")
    new.request_ok("PUT", "/api/folders/drill-g1", json={"title": "x", "overwrite": True})
    assert len(faults_of(new, held)) == 2
    new.import_native(export)
    assert faults_of(new, held) == []


def test_what_an_export_leaves_out_is_named_and_the_rest_comes_back(grafana, monkeypatch, tmp_path):
    for uid in ("own", "given", "v2"):
        save(grafana, uid)
    panel = {"uid": "p", "name": "P", "kind": 1, "model": {"type": "text"}, "folderUid": ""}
    grafana.request_ok("POST", "/api/library-elements", json=panel)
    given = {"dashboard": {"uid": "given"}, "meta": {"provisioned": True}}
    forge(
        monkeypatch,
        ("GET", "/api/dashboards/uid/given", 200, given),
        ("GET", "/api/dashboards/uid/v2", 406, {}),
    )
    items = {item.id: item for item in grafana.list_items(NOW)}
    assert items["dashboards: all"].count == 2 and f"{module.UNREAD}: v2" in items
    path = grafana.export_native(tmp_path)
    assert module.read(path).library == [panel]
    posted = []
    monkeypatch.setattr(
        Grafana, "request_ok", lambda _, __, path, **___: posted.append(path) or requests.Response()
    )
    assert grafana.import_native(path) == [
        "dashboard given is not in the export: it is provisioned",
        "dashboard v2 is not in the export: it has schema v2",
    ]
    assert posted == ["/api/library-elements", "/api/dashboards/db"]


def shown(uid, folder="", **meta):
    """Return a dashboard as the runbook keeps it: the whole answer of the API."""
    model = {"uid": uid, "title": f"T {uid}", "panels": [], "schemaVersion": 39, "id": 7}
    about = {"folderUid": folder, "folderTitle": f"F {folder}", **meta}
    return json.dumps({"meta": about, "dashboard": model}).encode()


def test_a_directory_of_dashboards_is_imported_with_its_folders(grafana, tmp_path):
    files = {
        "dashboard-a.json": shown("a", "infra"),
        "sub/dashboard-b.json": shown("b"),
        "dashboard-p.json": shown("p", provisioned=True),
        "bare.json": json.dumps(json.loads(shown("c"))["dashboard"]).encode(),
        "package.json": b'{"name": "x"}',
        ".git/x.json": shown("hidden"),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    grafana.inspect_native(tmp_path)
    assert grafana.import_native(tmp_path) == [
        "dashboard p was provisioned: not imported",
        "folders of folders: a dashboard's file names its own folder alone",
    ]
    there = grafana.dashboards()
    assert sorted(there) == ["a", "b", "c"]
    assert there["a"]["meta"]["folderUid"] == "infra"
    assert {uid: each["title"] for uid, each in grafana.folders().items()} == {"infra": "F infra"}


def test_a_dashboards_file_without_one_is_damage(tmp_path):
    with pytest.raises(BackupDamaged, match="holds no dashboard"):
        Grafana.inspect_native(tmp_path)
    (tmp_path / "dashboard-a.json").write_bytes(shown("a"))
    for content, why in (
        (b'{"message": "Unauthorized"}', "Unauthorized"),
        (shown("b")[:40], "holds no dashboard"),
        (b"", "it is empty"),
    ):
        (tmp_path / "dashboard-b.json").write_bytes(content)
        with pytest.raises(BackupDamaged, match=why):
            Grafana.inspect_native(tmp_path)


def test_a_damaged_export_is_never_begun(grafana, tmp_path):
    folders = [{"uid": "f", "title": "F", "parentUid": ""}]
    dashboards = [{"folderUid": "f", "dashboard": {"uid": "d", "title": "D"}}]
    export = module.Export(folders, dashboards, software="grafana x")
    path = module.write(export, tmp_path)
    assert module.read(path) == export
    whole = path.read_bytes()
    # Bytes 3 to 9 of gzip's header are flags and a time stamp.
    places = (0, *range(10, len(whole), 7), len(whole) - 1)
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    damaged += [whole[:at] for at in range(0, len(whole), 7)]
    damaged += [gzip.compress(text) for text in (b"[]", b"{}", b"x", b'{"format": 1}')]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(BackupDamaged, match="grafana-export.json.gz is damaged.*nothing was"):
            grafana.import_native(path)
    assert grafana.hits("dash-folder") == []
