"""The relay: bytes pass as they are, ends are told, and nothing is left open."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from fixtures.errors import LabError
from fixtures.incus.tunnel import Relay


def serve(answer):
    """A dial whose other side is handed to `answer` in a thread of its own."""

    def dial():
        ours, theirs = socket.socketpair()

        def run():
            with theirs, contextlib.suppress(OSError):
                answer(theirs)

        threading.Thread(target=run, daemon=True).start()
        return ours

    return dial


def echo(peer):
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.sendall(b"end")


def connect(relay):
    return socket.create_connection(("127.0.0.1", relay.port), 5)


def read_all(connection):
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def relay_threads():
    return [thread for thread in threading.enumerate() if thread.name == "relay"]


@pytest.fixture
def others():
    """Relays of other tests: that of the lab's S3 lives as long as the session."""
    return relay_threads()


def test_bytes_and_ends_pass_both_ways(others):
    sent = bytes(range(256)) * 4000
    with Relay(serve(echo)) as relay, connect(relay) as client:

        def write():
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        assert read_all(client) == sent + b"end"
        writer.join()
    assert relay_threads() == others


def test_many_connections_do_not_mix():
    with Relay(serve(echo)) as relay:
        clients = [connect(relay) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        assert [read_all(client) for client in clients] == [b"%dend" % n for n in range(20)]
        for client in clients:
            client.close()


def test_a_server_that_hangs_up_is_seen():
    with Relay(serve(lambda peer: peer.sendall(b"bye"))) as relay, connect(relay) as client:
        assert read_all(client) == b"bye"


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "Connection refused"), LabError("the lab is not up")]
)
def test_a_dial_that_fails_closes_the_connection_and_is_told(error):
    def dial():
        raise error

    with Relay(dial) as relay, connect(relay) as client:
        assert read_all(client) == b""
    assert relay.fault == str(error)


def test_closing_cuts_what_is_open_and_waits_for_its_threads(others):
    relay = Relay(serve(echo))
    with connect(relay) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.close()
        assert read_all(client) == b""
    assert relay_threads() == others
    with pytest.raises(ConnectionRefusedError):
        connect(relay)


def test_a_dial_that_comes_back_after_the_end_is_cut():
    begun, go_on = threading.Event(), threading.Event()

    def dial():
        begun.set()
        go_on.wait(5)
        return serve(echo)()

    relay = Relay(dial)
    with connect(relay) as client:
        assert begun.wait(5)
        closing = threading.Thread(target=relay.close)
        closing.start()
        go_on.set()
        closing.join(5)
        assert not closing.is_alive()
        assert read_all(client) == b""
