#!/usr/bin/python3
"""An imitation of Grafana: the requests that its service class makes, over a SQLite file.

The forms are those of Grafana's documentation ("HTTP API", "Grafana CLI", 12.x); all else is 404.

    grafana server DATA PORT
    grafana cli [OPTIONS] admin reset-admin-password --password-from-stdin
"""

import base64
import hashlib
import json
import os
import re
import signal
import sqlite3
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

OVERRIDE = "cfg:default.paths.data="
SCHEMA = """
CREATE TABLE IF NOT EXISTS user (
    id INTEGER PRIMARY KEY, login TEXT UNIQUE, password TEXT, shown TEXT);
CREATE TABLE IF NOT EXISTS object (
    id INTEGER PRIMARY KEY, kind TEXT, key TEXT, shown TEXT, UNIQUE (kind, key));
CREATE TABLE IF NOT EXISTS data_source (
    id INTEGER PRIMARY KEY, name TEXT, secure_json_data TEXT);
"""


class Refused(Exception):
    """A request that is answered with another status than 200."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def hashed(password):
    return hashlib.sha256(password.encode()).hexdigest()


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """All objects as JSON by their kind and key; one request at a time, each a transaction."""

    def __init__(self, data):
        os.umask(0o027)
        self.lock = threading.Lock()
        self.db = sqlite3.connect(data / "grafana.db", check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        with self.db:
            self.db.executescript(SCHEMA)
            if not self.db.execute("SELECT 1 FROM user").fetchone():
                password = os.environ["GF_SECURITY_ADMIN_PASSWORD"]
                self.add_user({"login": "admin", "password": password})

    def list(self, kind):
        query = "SELECT key, shown FROM object WHERE kind = ? ORDER BY key"
        return {key: json.loads(shown) for key, shown in self.db.execute(query, (kind,))}

    def has(self, kind, key):
        return key in self.list(kind)

    def get(self, kind, key):
        if not self.has(kind, key):
            raise Refused(404, f"{kind} not found")
        return self.list(kind)[key]

    def put(self, kind, key, shown):
        query = (
            "INSERT INTO object (kind, key, shown) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, key) DO UPDATE SET shown = excluded.shown RETURNING id"
        )
        (number,) = self.db.execute(query, (kind, key, json.dumps(shown))).fetchone()
        return {**shown, "id": number}

    def delete(self, kind, key):
        self.get(kind, key)
        self.db.execute("DELETE FROM object WHERE kind = ? AND key = ?", (kind, key))
        return {"message": f"{kind} deleted"}

    def add_user(self, body):
        shown = {name: body.get(name, "") for name in ("login", "email", "name")}
        row = (shown["login"], hashed(body["password"]), json.dumps(shown))
        added = self.db.execute("INSERT INTO user (login, password, shown) VALUES (?, ?, ?)", row)
        return {"id": added.lastrowid, "message": "User created"}

    def user(self, login):
        found = self.db.execute("SELECT id, shown FROM user WHERE login = ?", (login,)).fetchone()
        if found is None:
            raise Refused(404, "user not found")
        return {"id": found[0], **json.loads(found[1]), "updatedAt": now()}

    def login_of(self, header):
        """Return who asks, by basic authentication."""
        kind, _, value = header.partition(" ")
        given = base64.b64decode(value if kind == "Basic" else "").decode()
        login, _, password = given.partition(":")
        query = "SELECT 1 FROM user WHERE login = ? AND password = ?"
        if not self.db.execute(query, (login, hashed(password))).fetchone():
            raise Refused(401, "Invalid username or password")
        return login


class Call:
    """One request: its store, its account and organisation, its parameters, its body."""

    def __init__(self, store, login, org, query, body):
        self.store, self.login, self.org, self.query, self.body = store, login, org, query, body

    def search(self, _):
        kind = {"dash-folder": "folder", "dash-db": "dashboard"}[self.query["type"]]
        size, page = int(self.query["limit"]), int(self.query["page"])
        uids = list(self.store.list(kind))
        return [{"uid": uid, "type": kind} for uid in uids[size * (page - 1) : size * page]]

    def save_dashboard(self, _):
        model, folder = self.body["dashboard"], self.body.get("folderUid", "")
        uid = model["uid"]
        if folder and not self.store.has("folder", folder):
            raise Refused(400, "folder not found")
        rows = []
        if self.store.has("history", uid):
            rows = self.store.get("history", uid)["versions"]
            if not self.body.get("overwrite") and model.get("version") != len(rows):
                raise Refused(412, "The dashboard has been changed by someone else")
        version = len(rows) + 1
        row = {"version": version, "parentVersion": version - 1, "restoredFrom": 0}
        row |= {"created": now(), "createdBy": self.login, "message": self.body.get("message", "")}
        self.store.put("history", uid, {"versions": [row, *rows]})
        shown = {"dashboard": {**model, "version": version}, "meta": {"folderUid": folder}}
        return {**self.store.put("dashboard", uid, shown), "uid": uid, "version": version}

    def delete_dashboard(self, uid):
        self.store.delete("history", uid)
        return self.store.delete("dashboard", uid)

    def folder(self, uid):
        shown = self.store.get("folder", uid)
        if shown["parentUid"]:
            above = self.folder(shown["parentUid"])
            shown["parents"] = [*above.pop("parents", []), above]
        return shown

    def add_folder(self, _):
        uid, parent = self.body["uid"], self.body.get("parentUid", "")
        if self.store.has("folder", uid):
            raise Refused(409, "a folder with that uid already exists")
        if parent and not self.store.has("folder", parent):
            raise Refused(400, "parent folder not found")
        return self.store.put("folder", uid, {**self.body, "parentUid": parent})

    def change_folder(self, uid):
        """A changed folder stays where it is."""
        return self.store.put("folder", uid, {**self.folder(uid), "title": self.body["title"]})

    def add_source(self, _):
        """Of `secureJsonData` only the names are shown."""
        secret = dict.fromkeys(self.body.pop("secureJsonData", {}), True)
        return self.store.put("source", self.body["uid"], {**self.body, "secureJsonFields": secret})

    def add_organisation(self, _):
        made = self.store.put("organisation", self.body["name"], self.body)
        return {"orgId": made["id"], "message": "Organization created"}

    def organisation(self, name):
        return self.store.put("organisation", name, self.store.get("organisation", name))

    def panels(self, _):
        shown = list(self.store.list("panel").values()) if self.query["page"] == "1" else []
        return {"result": {"elements": shown}}


DASHBOARD, FOLDER, SOURCE = (
    f"/api/{kind}/([^/]+)" for kind in ("dashboards/uid", "folders", "datasources/uid")
)
ROUTES = {
    ("GET", "/api/search"): Call.search,
    ("POST", "/api/dashboards/db"): Call.save_dashboard,
    ("GET", DASHBOARD): lambda call, uid: call.store.get("dashboard", uid),
    ("DELETE", DASHBOARD): Call.delete_dashboard,
    ("GET", f"{DASHBOARD}/versions"): lambda call, uid: call.store.get("history", uid),
    ("POST", "/api/folders"): Call.add_folder,
    ("GET", FOLDER): Call.folder,
    ("PUT", FOLDER): Call.change_folder,
    ("DELETE", FOLDER): lambda call, uid: call.store.delete("folder", uid),
    ("POST", "/api/datasources"): Call.add_source,
    ("GET", SOURCE): lambda call, uid: call.store.get("source", uid),
    ("DELETE", SOURCE): lambda call, uid: call.store.delete("source", uid),
    ("POST", "/api/admin/users"): lambda call, _: call.store.add_user(call.body),
    ("GET", "/api/users/lookup"): lambda call, _: call.store.user(call.query["loginOrEmail"]),
    ("GET", "/api/user"): lambda call, _: call.store.user(call.login),
    ("POST", "/api/orgs"): Call.add_organisation,
    ("GET", "/api/orgs/name/([^/]+)"): Call.organisation,
    ("GET", "/api/org/preferences"): lambda call, _: call.store.list("preferences").get(
        call.org, {}
    ),
    ("PUT", "/api/org/preferences"): lambda call, _: call.store.put(
        "preferences", call.org, call.body
    ),
    ("GET", "/api/library-elements"): Call.panels,
    ("POST", "/api/library-elements"): lambda call, _: call.store.put(
        "panel", call.body["uid"], call.body
    ),
    ("GET", "/api/admin/settings"): lambda call, _: {"auth.anonymous": {"enabled": "false"}},
}


class Handler(BaseHTTPRequestHandler):
    """One connection; `server.store` is the data."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self):
        status, answer = 200, None
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            with self.server.store.lock, self.server.store.db:
                answer = self.routed(self.server.store, body)
        except Refused as refused:
            status, answer = refused.status, {"message": str(refused)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def routed(self, store, body):
        """Return what the route of this request answers."""
        parts = urlsplit(self.path)
        if parts.path == "/api/health":
            return {"database": "ok", "version": "imitation (API of 12.x)"}
        for (method, pattern), act in ROUTES.items():
            if method == self.command and (match := re.fullmatch(pattern, parts.path)):
                login = store.login_of(self.headers.get("Authorization") or "")
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                org = self.headers.get("X-Grafana-Org-Id") or "1"
                return act(Call(store, login, org, query, body), unquote("".join(match.groups())))
        raise Refused(404, "Not found")

    def log_message(self, *_):
        """Log nothing."""


def serve(data, port):
    """Serve until SIGTERM."""
    store = Store(data)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.store = store
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    store.db.close()


def reset_password(arguments):
    """Give the administrator the password that comes by standard input; 0 once it is changed."""
    if arguments[-3:] != ["admin", "reset-admin-password", "--password-from-stdin"]:
        return 2
    (data,) = (word.removeprefix(OVERRIDE) for word in arguments if word.startswith(OVERRIDE))
    password = hashed(sys.stdin.readline().rstrip("\n"))
    with sqlite3.connect(Path(data) / "grafana.db") as db:
        changed = db.execute("UPDATE user SET password = ? WHERE id = 1", (password,))
    return 0 if changed.rowcount == 1 else 1


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(reset_password(sys.argv[2:]))
