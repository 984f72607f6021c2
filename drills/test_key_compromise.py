"""Runbook, "Restore step-ca After Key Compromise": regenerate, never restore.

Loses:  the CA with its instance, its volume and every snapshot of it, in the drill project, and
        with it all trust in the old root.
Needs:  images of the CA and of the services that depend on it; nothing of the source is touched.
Proves: the CA has another root, whose fingerprint is published; the services trust that root
        alone and have certificates of it; the old root, every certificate under it and one newly
        forged with the old key are refused by each of them in a real handshake; the old
        certificates are revoked; no volume or snapshot holds anything of the old keys. The report
        says which clients and copies of the key were out of its reach.
"""

import pytest

pytestmark = pytest.mark.key_compromise


def test_ca_regenerated_after_its_key_leaked(drill, ca, clients):
    """The old CA is given up; trust and certificates are exchanged; the old is refused."""
    with drill.phase("destroy"):
        ca.destroy()
    with drill.phase("restore"):
        ca.regenerate()
    with drill.phase("start"):
        ca.start()
        ca.publish()
        clients.trust(ca)
        clients.reissue(ca)
        clients.reload()
        ca.revoke_the_old()
    with drill.phase("healthy"):
        ca.wait_until_healthy()
        clients.wait_until_healthy()
    with drill.phase("verified"):
        ca.must_be_new(clients)
