"""Host names of the package registries that this machine is configured for; none is known here."""

import functools
import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

URL = re.compile(r"https?://[^\s,|\])>'\"]+")
VARIABLES = re.compile(r"(PIP|UV)_.*(INDEX|FIND_LINKS).*|GOPROXY|GOSUMDB")


def configured():
    """Ask apt's sources, pip's configuration and default, and Go's."""
    texts = [path.read_text() for kind in ("list", "sources") for path in _apt(kind)]
    texts += [value for name, value in os.environ.items() if VARIABLES.fullmatch(name)]
    texts.append(_said(sys.executable, "-m", "pip", "config", "list"))
    # Of `pip install --help` only the index option's paragraph: the default that pip would use.
    options = re.split(r"\n\s+-", _said(sys.executable, "-m", "pip", "install", "--help"))
    texts += [option for option in options if "--index-url" in option.split("\n")[0]]
    if shutil.which("go"):
        texts.append(_said("go", "env", "GOPROXY"))
    return hosts_in("\n".join(texts))


def hosts_in(text):
    """Hosts of the URLs in a text; neither addresses nor names without a dot, which say nothing."""
    hosts = {urlsplit(url).hostname for url in URL.findall(text)}
    return {host for host in hosts if host and "." in host and not _is_address(host)}


def named(text, hosts):
    """Which of the hosts a text names."""
    return sorted(host for host in hosts if host in text.lower())


def _apt(kind):
    return sorted(Path("/etc/apt").rglob(f"*.{kind}"))


@functools.cache
def _said(*command):
    wide = {**os.environ, "COLUMNS": "1000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=wide)
    return done.stdout


def _is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
