"""A monitor on loopback: it keeps what is sent to it."""

import http.server
import threading
from contextlib import contextmanager


@contextmanager
def monitor(status=200, location=None, answer=lambda body: b""):
    """Yield its address and a list of (path, body), in the order in which they came."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.path, body.decode(errors="replace")))
            answered = answer(body)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(answered)))
            self.end_headers()
            self.wfile.write(answered)

        def log_message(self, *_):
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join(20)


def private(path, text):
    """Write a file that only its owner may read; return it."""
    path.write_text(text)
    path.chmod(0o600)
    return path
