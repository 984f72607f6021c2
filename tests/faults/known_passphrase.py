"""A pytest plugin of a child run: its encrypted backups have one known passphrase."""

import os
from types import SimpleNamespace

import fixtures.backups.gpg as gpg
import fixtures.recovery.service as taking

KNOWN = "known-passphrase-of-a-test-4c1b7e"
BREAK = "ATLAS_DRILLS_TEST_BREAK"
PLANTED = "planted defect"


def pytest_configure(config):
    taking.secrets = SimpleNamespace(token_urlsafe=lambda _: KNOWN)
    if BREAK in os.environ:
        gpg.subprocess = SimpleNamespace(PIPE=gpg.subprocess.PIPE, Popen=broken)


def broken(*_, **__):
    """No error of ours, raised where the passphrase is closest."""
    raise ValueError(PLANTED)
