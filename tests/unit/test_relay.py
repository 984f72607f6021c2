"""The relay: bytes pass as they are, ends are passed on, and nothing is left open."""

import contextlib
import socket
import threading

import pytest

from fixtures.errors import LabError
from fixtures.incus.tunnel import Relay


def serve(answer):
    """Return a dial whose other side goes to `answer`, in a thread of its own."""

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
    return b"".join(iter(lambda: connection.recv(65536), b""))


def relay_threads():
    return [thread for thread in threading.enumerate() if thread.name == "relay"]


@pytest.fixture
def others():
    """Relays of other tests: that of the lab's S3 lives as long as the session."""
    return relay_threads()


def test_bytes_and_ends_pass_both_ways_and_connections_do_not_mix(others):
    sent = [bytes(range(256)) * 4000, *(b"%d" % number for number in range(20))]
    with Relay(serve(echo)) as relay:
        clients = [connect(relay) for _ in sent]

        def write():
            for client, data in zip(clients, sent, strict=True):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        assert [read_all(client) for client in clients] == [data + b"end" for data in sent]
        writer.join()
        for client in clients:
            client.close()
    assert relay_threads() == others


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "Connection refused"), LabError("the lab is not up")]
)
def test_a_dial_that_fails_closes_the_connection_and_is_reported(error):
    def dial():
        raise error

    with Relay(dial) as relay, connect(relay) as client:
        assert read_all(client) == b""
    assert relay.fault == str(error)


def test_closing_cuts_what_is_open_and_waits_for_its_threads(others):
    with Relay(serve(lambda peer: peer.sendall(b"bye"))) as relay, connect(relay) as client:
        assert read_all(client) == b"bye", "the server itself closes"
    relay = Relay(serve(echo))
    with connect(relay) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.close()
        assert read_all(client) == b""
    assert relay_threads() == others
    with pytest.raises(ConnectionRefusedError):
        connect(relay)


def test_a_dial_that_returns_after_the_end_is_cut():
    has_begun, may_go_on = threading.Event(), threading.Event()

    def dial():
        has_begun.set()
        may_go_on.wait(5)
        return serve(echo)()

    relay = Relay(dial)
    with connect(relay) as client:
        assert has_begun.wait(5)
        closing = threading.Thread(target=relay.close)
        closing.start()
        may_go_on.set()
        closing.join(5)
        assert not closing.is_alive()
        assert read_all(client) == b""
