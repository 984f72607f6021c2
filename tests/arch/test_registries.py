"""No file names a package registry that this machine is configured for; none is known here."""

import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
URL = re.compile(r"https?://[^\s,|\])>'\"]+")
VARIABLES = re.compile(r"(PIP|UV)_.*(INDEX|FIND_LINKS).*|GOPROXY|GOSUMDB")


def hosts_in(text):
    """Hosts of the URLs in a text; neither addresses nor names without a dot, which say nothing."""
    hosts = {urlsplit(url).hostname or "" for url in URL.findall(text)}
    return {host for host in hosts if "." in host and not is_address(host)}


def is_address(host):
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def said(*command):
    wide = {**os.environ, "COLUMNS": "1000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=wide).stdout


def configured():
    """Ask apt's sources, pip's configuration and default, and Go's."""
    apt = Path("/etc/apt")
    texts = [path.read_text() for kind in ("list", "sources") for path in apt.rglob(f"*.{kind}")]
    texts += [value for name, value in os.environ.items() if VARIABLES.fullmatch(name)]
    texts.append(said(sys.executable, "-m", "pip", "config", "list"))
    # Of `pip install --help` only the index option's paragraph: the default that pip would use.
    options = re.split(r"\n\s+-", said(sys.executable, "-m", "pip", "install", "--help"))
    texts += [option for option in options if "--index-url" in option.split("\n")[0]]
    texts += [said("go", "env", "GOPROXY")] if shutil.which("go") else []
    return hosts_in("\n".join(texts))


def test_no_registry_is_named():
    hosts = configured()
    assert hosts, "this machine names no registry: nothing was looked at"
    # Tracked or not yet; what git ignores is not the project's.
    listed = said("git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard")
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    texts = {path: path.read_text(errors="replace").lower() for path in files}
    assert len(texts) > 100
    assert [(path, host) for path, text in texts.items() for host in hosts if host in text] == []


def test_hosts_are_found_in_what_machines_say():
    text = "URIs: http://one.test/debian\nhttps://two.test/simple,https://me:pw@three.test|direct"
    assert hosts_in(text) == {"one.test", "two.test", "three.test"}
    assert hosts_in("deb http://127.0.0.1:3142/debian http://mirror/debian") == set()
