"""A local server that speaks enough of the Hugging Face hub for a commit and a snapshot, and records what it is sent.

What it answers follows what `huggingface_hub` asks for; the true hub checks more.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """One repository at a time.

    Attributes:
        address: what HF_ENDPOINT should be.
        files: of the repository, by path.
        refuse: HTTP status for every request, where it is not 0, and the hub's error code.
        calls: method and path of every request.
        created: bodies of the calls that create a repository.
        commits: header and files of every commit.
        tokens: of every request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    refuse: tuple[int, str] = (0, "")
    calls: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[tuple[dict[str, Any], dict[str, bytes]]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, call: str, body: bytes) -> dict[str, Any]:
        """What the hub says in JSON."""
        if call.startswith("POST /api/repos/create"):
            self.created.append(json.loads(body))
            return {"url": f"{self.address}/me/mine", "id": "me/mine"}
        if call.startswith("POST /api/validate-yaml"):
            return {"errors": [], "warnings": []}
        if "/preupload/" in call:
            return {"files": [_mode(file) for file in json.loads(body)["files"]]}
        if "/commit/" in call:
            lines = [json.loads(line) for line in body.splitlines()]
            header = next(line["value"] for line in lines if line["key"] == "header")
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.commits.append((header, files))
            self.files |= files
            return {"commitUrl": f"{self.address}/me/mine/commit/{COMMIT}", "commitOid": COMMIT}
        # What is left asks for the repository and its files.
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
        if "/tree/" in call:
            return [  # type: ignore[return-value]
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
        return {"id": "me/mine", "sha": COMMIT, "private": True, "siblings": siblings}


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    return {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}


@contextlib.contextmanager
def serving() -> Iterator[FakeHub]:
    """Run the server."""
    hub = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = f"{self.command} {self.path}"
            hub.calls.append(call)
            hub.tokens.add(self.headers.get("Authorization", ""))
            headers = {}
            if hub.refuse[0]:
                status, content, headers = hub.refuse[0], b'{"error": "no"}', {"X-Error-Code": hub.refuse[1]}
            elif "/resolve/" in self.path:
                name = self.path.split("/resolve/")[1].partition("/")[2].partition("?")[0]
                status, content = (200, hub.files[name]) if name in hub.files else (404, b"")
                tag = hashlib.sha256(content).hexdigest()
                headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
                headers |= {} if status == 200 else {"X-Error-Code": "EntryNotFound"}
            else:
                status, content = 200, json.dumps(hub.answer(call, body)).encode()
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _reply  # noqa: N815 - http.server's own names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
