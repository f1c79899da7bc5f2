"""A real HTTP server on this machine that misbehaves as it is told: one fault a request, in order, then it serves."""

import contextlib
import hashlib
import http.server
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        status: answer with this code and no file.
        location: redirect there.
        keep: bytes of the body that are sent before the connection ends; all where None.
        reset: end it with a TCP reset.
        corrupt: flip a bit in the middle.
        pause: seconds of silence after the first `keep` bytes.
        drip: seconds between single bytes.
        ranges: whether Range is honoured.
        strict: whether If-Range is honoured.
        length: Content-Length that is announced, where it is not the true one.
        sized: whether a Content-Length is announced.
        shift: how far the Content-Range is beside what was asked for.
    """

    status: int = 200
    location: str = ""
    keep: int | None = None
    reset: bool = False
    corrupt: bool = False
    pause: float = 0.0
    drip: float = 0.0
    ranges: bool = True
    strict: bool = True
    length: int | None = None
    sized: bool = True
    shift: int = 0


@dataclass
class FaultyServer:
    """Files by path, and what is to go wrong with each.

    Attributes:
        address: where it serves.
        files: by path.
        faults: of the next requests for a path.
        requests: path and headers of every request.
        tagged: whether an answer has an ETag.
        busy: requests that are being answered.
        most: the most there were at once.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tagged: bool = True
    busy: int = 0
    most: int = 0

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"

    def put(self, path: str, content: bytes, *faults: Fault) -> str:
        """Serve a file; the faults meet its next requests."""
        self.files[path] = content
        self.faults[path] = list(faults)
        return self.url(path)

    def put_folder(self, path: str, folder: Path) -> str:
        for file in folder.iterdir():
            self.put(f"{path}/{file.name}", file.read_bytes())
        return self.url(path)

    def ranges(self, path: str) -> list[str]:
        """The Range header of every request for a file."""
        return [headers.get("Range", "") for asked, headers in self.requests if asked == path]


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[FaultyServer]:
    """Run a server, over TLS where a PEM file with key and certificate is given."""
    state = FaultyServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            state.requests.append((path, dict(self.headers)))
            planned = state.faults[path]
            state.busy += 1
            state.most = max(state.most, state.busy)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _answer(self, state, path, planned.pop(0) if planned else Fault())
            self.close_connection = True
            state.busy -= 1

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.address = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: http.server.BaseHTTPRequestHandler, state: FaultyServer, path: str, fault: Fault) -> None:
    content = state.files.get(path)
    status = fault.status if fault.status != 200 or content is not None else 404
    if status != 200 or content is None:
        handler.send_response(status)
        if fault.location:
            handler.send_header("Location", fault.location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    start, asked = 0, handler.headers.get("Range", "")
    same = not fault.strict or handler.headers.get("If-Range") == tag
    if asked and fault.ranges and same:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start + fault.shift}-{len(content) - 1}/{len(content)}")
    else:
        handler.send_response(200)
    if state.tagged:
        handler.send_header("ETag", tag)
    body = bytearray(content[start:])
    if fault.sized:
        handler.send_header("Content-Length", str(len(body) if fault.length is None else fault.length))
    handler.end_headers()
    if fault.corrupt:
        body[len(body) // 2] ^= 1
    _send(handler, bytes(body), fault)


def _send(handler: http.server.BaseHTTPRequestHandler, body: bytes, fault: Fault) -> None:
    sent = body if fault.keep is None else body[: fault.keep]
    if fault.drip:
        for i in range(len(sent)):
            handler.wfile.write(sent[i : i + 1])
            time.sleep(fault.drip)
    else:
        handler.wfile.write(sent)
    if fault.pause:
        time.sleep(fault.pause)
        handler.wfile.write(body[len(sent) :])
    if fault.reset:
        time.sleep(0.05)  # the bytes before it should arrive
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.wfile = handler.connection.makefile("wb", 0)  # type: ignore[assignment]
        handler.connection.close()
