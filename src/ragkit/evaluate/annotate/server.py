"""The page of a study, served to this machine alone.

The standard library's server on 127.0.0.1. It answers only requests that name this machine
as their host, so that no other web page can reach it by a name of its own; judgements must
come as JSON from the page itself. What is sent names neither model. Knows nothing of how
judgements are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ragkit.errors import DataError, RagkitError
from ragkit.evaluate.annotate import blind
from ragkit.evaluate.annotate.study import ASPECTS, Study, check_name

HOST = "127.0.0.1"
_LARGEST = 1 << 14  # bytes of a judgement
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@contextmanager
def serving(study: Study, port: int = 0) -> Iterator[str]:
    """Serve the page while the context is open; gives its address.

    port: 0 takes any that is free. Raises `DataError` where the port is taken.
    """
    desk = _Desk(study)
    handler = type("Handler", (_Handler,), {"desk": desk})
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"port {port} of this machine cannot be had ({error}); "
            f"type --port 0 for one that is free"
        ) from None
    server.daemon_threads = True
    desk.port = server.server_port
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{desk.port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Desk:
    """What the page asks, answered in plain Python."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.port = 0
        self._lock = Lock()

    def show(self, annotator: str, at: str | None) -> dict[str, Any]:
        """Pair number ``at`` of this annotator, by default the first that is not judged."""
        name = check_name(annotator)
        order = self.study.order(name)
        judged = self.study.judged(name)
        done = [all((id, aspect) in judged for aspect in ASPECTS) for id in order]
        place = _place(at, len(order)) if at else (done.index(False) if False in done else None)
        state = {"annotator": name, "total": len(order), "done": sum(done), "at": place}
        if place is None:
            return state
        pair = self.study.pairs[order[place]]
        texts = [pair.first, pair.second]
        if not blind.first_is_left(self.study.seed, name, pair.id):
            texts.reverse()
        chosen = {
            aspect: judged[pair.id, aspect].choice
            for aspect in ASPECTS
            if (pair.id, aspect) in judged
        }
        return state | {
            "question": pair.question,
            "answers": pair.answers,
            "left": texts[0],
            "right": texts[1],
            "chosen": chosen,
        }

    def judge(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a judgement, and show its pair as it is now."""
        values = [record.get(name) for name in ("annotator", "aspect", "choice")]
        at = record.get("at")
        if not all(isinstance(value, str) for value in values) or type(at) is not int:
            raise DataError("a judgement has annotator, at, aspect and choice")
        annotator, aspect, choice = map(str, values)
        order = self.study.order(check_name(annotator))
        with self._lock:
            self.study.judge(annotator, order[_place(str(at), len(order))], aspect, choice)
        return self.show(annotator, str(at))


class _Handler(BaseHTTPRequestHandler):
    desk: _Desk
    protocol_version = "HTTP/1.1"
    server_version = "ragkit"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._is_ours():
            return
        if url.path in _FILES:
            name, kind = _FILES[url.path]
            content = (files("ragkit.evaluate.annotate") / name).read_bytes()
            self._send(HTTPStatus.OK, kind, content)
        elif url.path == "/pair":
            asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
            self._answer(lambda: self.desk.show(asked.get("annotator", ""), asked.get("at")))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST:
            self.close_connection = True  # what was sent is not read
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is no judgement")
            return
        body = self.rfile.read(int(length))
        if not self._is_ours():
            return
        # A form of another page cannot send this type without asking, and nobody answers.
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "judgements are JSON")
        elif self.path != "/judge":
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        else:
            self._answer(lambda: self.desk.judge(_object(body)))

    def log_message(self, format: str, *arguments: Any) -> None:
        """The terminal stays quiet: what is asked says who judges."""

    def _is_ours(self) -> bool:
        hosts = {f"{name}:{self.desk.port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        here = self.headers.get("Host") in hosts
        if here and (origin is None or origin.removeprefix("http://") in hosts):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
        return False

    def _answer(self, make: Any) -> None:
        try:
            found = make()
        except RagkitError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:  # a full disk: the page must not say that all is kept
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, "application/json", json.dumps({"error": message}).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _place(at: str, total: int) -> int:
    if not at.isdecimal() or len(at) > 9 or int(at) >= total:
        raise DataError(f"there is no pair {at[:9]!r}; there are 0 to {total - 1}")
    return int(at)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError("that is not a JSON object")
    return found
