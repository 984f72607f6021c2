"""Remotes from the incus client's own configuration: what is read, and what is refused."""

import pytest

from fixtures.errors import UsageError
from fixtures.incus.guard import ReadPolicy
from fixtures.incus.remotes import connect, is_https, read_remote
from tests.remote.server import ADDRESS, write_conf, write_pair

REMOTES = {
    "far": {"project": "production"},
    "plain": {},
    "images": {"addr": "https://images.example", "protocol": "simplestreams", "public": True},
    "oidc": {"auth_type": "oidc"},
    "http": {"addr": "http://far:8443"},
    "many": {"addr": "https://one:8443,https://two:8443/"},
    "here": {"addr": "unix:///tmp/incus.socket"},
}


@pytest.fixture
def conf(tmp_path):
    return write_conf(tmp_path / "conf", REMOTES, write_pair(tmp_path / "server"))


@pytest.fixture
def read(conf, tmp_path):
    """Read a remote; of a refusal return the text, with `DIR` for the configuration's directory."""

    def read(name):
        env = {"INCUS_CONF": str(conf), "INCUS_GLOBAL_CONF": str(tmp_path / "shared")}
        try:
            return read_remote(name, env)
        except UsageError as error:
            assert "; nothing was contacted" in error.message
            return str(error).replace(str(conf), "DIR")

    return read


def test_a_remote_has_addresses_a_project_and_who_we_are(read, conf):
    far = read("far:")
    assert (far.name, far.addresses, far.project) == ("far", (ADDRESS,), "production")
    assert far.cert == (str(conf / "client.crt"), str(conf / "client.key"))
    assert far.verify == str(conf / "servercerts" / "far.crt")
    assert far.socket is None
    assert read("plain").project is None, "the client writes `default` by itself"
    assert read("many").addresses == ("https://one:8443", "https://two:8443")
    assert read("here").socket == "/tmp/incus.socket"
    assert read("local").socket == ""


def test_a_certificate_for_one_remote_is_preferred(read, conf):
    write_pair(conf / "clientcerts" / "far")
    own = conf / "clientcerts"
    assert read("far").cert == (str(own / "far.crt"), str(own / "far.key"))
    assert read("plain").cert == (str(conf / "client.crt"), str(conf / "client.key"))


def test_the_users_own_remotes_are_preferred_to_those_of_the_machine(read, conf, tmp_path):
    shared = {"shared": {}, "far": {"addr": "https://elsewhere:8443"}}
    write_conf(tmp_path / "shared", shared, (conf / "servercerts" / "far.crt").read_text())
    assert read("far").addresses == (ADDRESS,)
    assert read("shared").verify == str(tmp_path / "shared" / "servercerts" / "shared.crt")
    assert read("shared").cert == (str(conf / "client.crt"), str(conf / "client.key"))


def test_an_unknown_remote_is_refused_with_those_that_are_known(read, tmp_path):
    assert read("nope") == (
        "there is no remote 'nope' in DIR/config.yml; nothing was contacted\n"
        "HINT: known are: far, here, http, local, many, oidc, plain; "
        "add it: incus remote add nope ADDRESS"
    )
    with pytest.raises(UsageError, match=r"(?s)no remote 'far' in .*known are: none"):
        read_remote("far", {"HOME": str(tmp_path), "INCUS_GLOBAL_CONF": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("images", "remote images at https://images.example serves images only"),
        ("oidc", "remote oidc is reached by oidc, and drills need a client certificate"),
        ("http", "remote http has the address 'http://far:8443', neither unix: nor https://"),
    ],
)
def test_a_remote_that_cannot_be_drilled_on_is_refused(read, name, why):
    assert read(name).startswith(why)


@pytest.mark.parametrize("name, file", [("here", "incus.socket"), ("unix", "config.yml")])
def test_what_is_no_socket_is_refused(conf, monkeypatch, name, file):
    monkeypatch.setenv("INCUS_CONF", str(conf))
    monkeypatch.setenv("INCUS_SOCKET", str(conf / "config.yml"))
    with pytest.raises(
        UsageError, match=rf"^no Incus socket at /\S+/{file}; nothing was contacted"
    ):
        connect(name, ReadPolicy())


def test_without_a_pinned_certificate_no_server_is_trusted(read, conf):
    pinned = conf / "servercerts" / "far.crt"
    pinned.unlink()
    assert read("far").startswith(
        "remote far has no pinned server certificate (DIR/servercerts/far.crt is missing), so that "
        "another server could take its place; nothing was contacted\nHINT: incus remote remove"
    )
    pinned.write_text("no certificate")
    assert "pinned certificate DIR/servercerts/far.crt of remote far cannot be read" in read("far")


def test_a_client_without_a_usable_pair_is_refused(read, conf):
    write_pair(conf / "client", password=b"secret of this test")
    assert read("far") == (
        "the client key DIR/client.key is encrypted, and a drill at night cannot ask for its "
        "password; nothing was contacted\n"
        "HINT: give the drills a certificate and key of their own: ./run certificate"
    )
    (conf / "client.key").write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n")
    assert "are no certificate and key in PEM" in read("far")
    write_pair(conf / "client")
    first = (conf / "client.crt").read_text()
    write_pair(conf / "client")
    (conf / "client.crt").write_text(first)
    assert "do not belong together" in read("far")
    (conf / "client.crt").unlink()
    (conf / "client.crt").mkdir()
    assert "are no certificate and key in PEM" in read("far")
    (conf / "client.key").unlink()
    assert "the incus client's client.key cannot be read at DIR/client.key" in read("far")


@pytest.mark.parametrize("text", ["[remotes]", "remotes: [far]", "remotes: {far", "[" * 5000, "\0"])
def test_a_file_that_is_no_configuration_is_refused(read, conf, text):
    (conf / "config.yml").write_text(text)
    assert read("far").startswith("DIR/config.yml is no configuration of the incus client;")


@pytest.mark.parametrize(
    "address", ["https://[::1:8443", "https://h:99999", "https://a b:8443", "https://", "ftp://h"]
)
def test_an_ambiguous_address_is_refused(address):
    assert not is_https(address)
