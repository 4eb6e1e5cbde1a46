"""The shared parts of the emulators: an HTTP server on 127.0.0.1 with routes, an access check and faults.

An emulator is a table of routes over a Shelf. It has no life of its own: everything it knows lies on disk, so each
process that needs it starts a server of its own on the same folder, and a killed process leaves a true picture.
"""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message as Headers
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tunebridge.testing.shelf import Faults

MAX_BODY_BYTES = 2 * 2**30
BEFORE = ("bad_credentials", "quota", "rate_limited", "sdk_error", "unavailable_before")
"""Faults of a create call that every emulator has and that strike before it takes effect; it may have more."""
AFTER = "unavailable_after"
"""The fault of a create call whose effect stands although the answer says otherwise."""
DROPPED = "dropped_after"
"""The fault of a create call whose answer never comes: the connection ends."""


class Part(NamedTuple):
    """One field of a multipart form."""

    content: bytes
    filename: str | None = None

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode()


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    arguments: Mapping[str, str] = field(default_factory=dict)
    """What the named groups of the route's pattern matched."""

    def json(self) -> Any:
        """Return the body as JSON; ValueError when it is none."""
        return json.loads(self.body or b"{}")

    def form(self) -> Mapping[str, Part]:
        """Return the fields of a multipart form by name; ValueError when it is none."""
        kind = self.headers.get("content-type", "")
        message = BytesParser(policy=HTTP).parsebytes(f"content-type: {kind}\r\n\r\n".encode() + self.body)
        if not message.is_multipart():
            raise ValueError(f"a multipart form was expected, not {kind or 'a body without content-type'}")
        return {_name(part): _part(part) for part in message.iter_parts()}


@dataclass(frozen=True)
class Response:
    """What the emulator answers: JSON values, bytes, or pieces of bytes that are sent as they come."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class Refusal(Exception):  # raised by handlers to answer with an error, in the vendor's own shape
    """An answer that ends a handler at once."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(f"HTTP {response.status}")


Handler = Callable[[Request], Response]


class Route(NamedTuple):
    """Which handler answers which requests; `creates` marks the call that costs money, which most faults concern."""

    method: str
    pattern: str
    """Regular expression over the whole path; named groups become arguments."""
    handler: Handler
    creates: bool = False


class Wire:
    """A running server; leave the block, or let the process end, and it is gone."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        authorise: Callable[[Request], Response | None],
        faults: Faults,
        fault_responses: Mapping[str, Response],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._routes = [(route, re.compile(route.pattern)) for route in routes]
        self._authorise, self._faults, self._fault_responses = authorise, faults, fault_responses
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:  # each connection shakes hands in its own thread, so that none holds up the others
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> Self:
        """Begin to answer, in a thread that ends with the process."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def answer(self, request: Request) -> Response | None:
        """Return what is answered, None where the connection is to be dropped without an answer."""
        try:
            if refused := self._authorise(request):
                return refused
            route, arguments = self.route(request)
            asked = Request(**{**vars(request), "arguments": arguments})
            return self._with_faults(route, asked) if route.creates else route.handler(asked)
        except Refusal as refusal:
            return refusal.response

    def route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """Return which handler answers a request, and what its path says; an emulator may override it."""
        for route, pattern in self._routes:
            match = pattern.fullmatch(request.path)
            if match and route.method == request.method:
                return route, {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
        raise Refusal(Response({"error": {"message": f"no route {request.method} {request.path}"}}, status=404))

    def _with_faults(self, route: Route, request: Request) -> Response | None:
        for fault, response in self._fault_responses.items():
            if fault != AFTER and self._faults.takes(fault):
                return response
        answered = route.handler(request)
        if self._faults.takes(DROPPED):
            return None
        return self._fault_responses[AFTER] if self._faults.takes(AFTER) else answered


def page(rows: Sequence[Any], *, after: str | None, limit: int, key: Callable[[Any], str]) -> tuple[list[Any], bool]:
    """Return the rows behind the one with the key `after`, `limit` at most, and whether there are more."""
    start = next((number + 1 for number, row in enumerate(rows) if key(row) == after), 0) if after else 0
    return list(rows[start : start + limit]), len(rows) > start + limit


def _handler_for(wire: Wire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing: a request may carry a token."""

        def _serve(self) -> None:
            request = _read(self)
            if request is None:
                self.send_error(413)
                return
            answered = wire.answer(request)
            if answered is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                _send(self, answered)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # the library's names

    return Handler


def _read(handler: BaseHTTPRequestHandler) -> Request | None:
    """Return the whole request; None when its body is too large."""
    address = urlsplit(handler.path)
    body = _body(handler)
    if body is None:
        return None
    return Request(
        method=handler.command,
        path=address.path,
        query=dict(parse_qsl(address.query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in handler.headers.items()},
        body=body,
    )


def _body(handler: BaseHTTPRequestHandler) -> bytes | None:
    if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return b"".join(_chunks(handler))
    length = int(handler.headers.get("Content-Length") or 0)
    return handler.rfile.read(length) if length <= MAX_BODY_BYTES else None


def _chunks(handler: BaseHTTPRequestHandler) -> Iterable[bytes]:
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()
    while handler.rfile.readline().strip():  # trailers
        pass


def _send(handler: BaseHTTPRequestHandler, response: Response) -> None:
    pieces = response.body if hasattr(response.body, "__next__") else [_encoded(response)]
    handler.send_response(response.status)
    headers = {"Content-Type": response.content_type, **response.headers}
    if isinstance(pieces, list):
        headers.setdefault("Content-Length", str(len(pieces[0])))
    else:
        headers["Connection"] = "close"  # the end of the stream is the end of the connection
        handler.close_connection = True
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()


def _encoded(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"" if response.body is None else json.dumps(response.body).encode()


def _part(part: Headers) -> Part:
    content = part.get_payload(decode=True)
    return Part(content if isinstance(content, bytes) else b"", part.get_filename())


def _name(part: Headers) -> str:
    return str(part.get_param("name", header="content-disposition") or "")
