"""Servers on loopback: each connection is answered by a function of the test."""

import ipaddress
import socket
import socketserver
import ssl
import tempfile
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.secrets import Secret
from fixtures.services.certificates import Issued, key_pem, sign


class Listener(socketserver.ThreadingTCPServer):
    def handle_error(self, *_):
        raise  # so that pytest sees it, in the thread


@contextmanager
def server(answer, context=None):
    """Yield a function that connects to it; a connection stays open until the end of the block."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with suppress(OSError):
                self.request.settimeout(20)
                if context:
                    self.request = context.wrap_socket(self.request, server_side=True)
                answer(self.request)
                over.wait(20)
            self.request.close()

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.02,)).start()
        try:
            yield lambda: socket.create_connection(listener.server_address, 5)
        finally:
            over.set()
            listener.shutdown()


def pages(content):
    """Answer requests of one connection: 200 with the content of a path, else 503."""

    def answer(connection):
        while request := connection.recv(65536):
            path = request.split()[1].decode()
            body = content.get(path, b"not here")
            head = b"HTTP/1.1 %d x\r\n" % (200 if path in content else 503)
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer


def identity(name):
    """Return a certificate that is its own root, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    extensions = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectAlternativeName(names), False),
    ]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    leaf = sign(subject, key, timedelta(hours=1), extensions)
    return Issued(leaf, (), name, Secret(key_pem(key).decode()))


def context_of(own, trust=""):
    """Return the TLS settings of a server; with `trust` (PEM) it wants a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.pem + own.key.reveal().encode())
        file.flush()
        context.load_cert_chain(file.name)
    if trust:
        context.load_verify_locations(cadata=trust)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
