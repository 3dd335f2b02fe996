"""A threaded HTTP server on 127.0.0.1 that notes requests, can fail on order, and serves files in ranges."""

import re
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    range: tuple[int, int] | None
    body: bytes
    headers: dict[str, str]


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Loopback(ABC):
    """Subclasses define `answer(request)`; `with` starts and stops it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        #: path -> statuses to give before it works; a status given for ever stands in `broken`.
        self.failures: dict[str, list[int]] = defaultdict(list)
        self.broken: dict[str, int] = {}
        #: A request of this path beyond the file's head waits until `released` is set; `reached` tells that one does.
        self.hang = ""
        self.reached, self.released = threading.Event(), threading.Event()
        self.sent_bytes = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Loopback":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @abstractmethod
    def answer(self, request: Request) -> Answer: ...

    def paths(self, method: str | None = None) -> list[str]:
        return [r.path for r in self.requests if method in (None, r.method)]

    def handle(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            if request.path in self.broken:
                return Answer(self.broken[request.path], b'{"description": "broken on order"}')
            if self.failures[request.path]:
                return Answer(self.failures[request.path].pop(0), b"busy", "text/plain")
        if self.hang and request.path == self.hang and request.range and request.range[0] > 0:
            self.reached.set()
            self.released.wait(60)
        answer = self.answer(request)
        with self._lock:
            self.sent_bytes += len(answer.body) if request.method != "HEAD" else 0
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def respond(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
                span = (int(asked[1]), int(asked[2] or 1 << 60)) if asked else None
                query = parse_qs(parts.query, keep_blank_values=True)
                given = server.handle(Request(self.command, parts.path, query, span, body, dict(self.headers)))
                try:
                    self.send_response(given.status)
                    for name, value in {"Content-Type": given.kind, **given.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(given.body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(given.body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = respond

        return Handler


def file_answer(path: Path, request: Request) -> Answer:
    """A file, or the range of it that was asked for."""
    if not path.is_file():
        return Answer(404, b"no such file", "text/plain")
    data = path.read_bytes()
    if request.range is None:
        return Answer(200, data, "image/tiff", {"Accept-Ranges": "bytes"})
    first, last = request.range[0], min(request.range[1], len(data) - 1)
    if first >= len(data):
        return Answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
    return Answer(206, data[first:last + 1], "image/tiff",
                  {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{len(data)}"})
