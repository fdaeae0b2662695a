"""Hugging Face hub of one process: what its library asks for, and no more."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

REVISION = "0" * 40


class Hub(ThreadingHTTPServer):
    """Server with the files of each repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.repositories: dict[str, dict[str, bytes]] = {}


class _Requests(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Keep the output of tests short."""

    def do_POST(self) -> None:
        path = unquote(self.path.partition("?")[0])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        repositories = self.server.repositories
        address = f"http://{self.headers['Host']}"
        if path == "/api/repos/create":
            wanted = json.loads(body)
            assert wanted.get("private") or wanted.get("visibility") == "private"
            name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
            repositories.setdefault(name, {})
            return self._answer({"url": f"{address}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self._answer({"warnings": [], "errors": []})
        owner, name, what = path.removeprefix("/api/models/").split("/")[:3]
        if what == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer({"files": modes})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                file = entry["value"]
                repositories[f"{owner}/{name}"][file["path"]] = base64.b64decode(file["content"])
        commit = f"{address}/{owner}/{name}/commit/{REVISION}"
        return self._answer({"commitOid": REVISION, "commitUrl": commit, "success": True})

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/api/models/"):
            owner, name, *what = path.removeprefix("/api/models/").split("/")
            files = self.server.repositories.get(f"{owner}/{name}")
            if files is None:
                return self._answer({}, 404, **{"X-Error-Code": "RepoNotFound"})
            if what[0] == "tree":
                entries = [
                    {"type": "file", "path": file, "size": len(content), "oid": _digest(content)}
                    for file, content in files.items()
                ]
                return self._answer(entries)
            listed = [{"rfilename": file} for file in files]
            about = {"id": f"{owner}/{name}", "modelId": f"{owner}/{name}", "sha": REVISION}
            return self._answer(about | {"siblings": listed})
        # OWNER/NAME/resolve/REVISION/FILE
        parts = path.strip("/").split("/")
        files = self.server.repositories.get("/".join(parts[:2]), {})
        content = files.get("/".join(parts[4:]))
        if content is None:
            return self._answer({}, 404, **{"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": REVISION}
        return self._answer(content, **headers)

    do_HEAD = do_GET

    def _answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _digest(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


@contextmanager
def local_hub() -> Iterator[str]:
    """Serve a hub without repositories; yields its address."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{hub.server_port}"
        finally:
            hub.shutdown()
            thread.join()
