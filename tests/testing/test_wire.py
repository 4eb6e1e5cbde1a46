"""The server behind the emulators: routes, access, bodies of every kind, faults before and after."""

import http.client
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebridge.testing.shelf import Faults, Shelf
from tunebridge.testing.wire import BEFORE, Request, Response, Route, Wire, page

TOKEN = "sentinel-77aa"
MADE: list[str] = []


def authorise(request: Request) -> Response | None:
    return None if request.headers.get("authorization") == f"Bearer {TOKEN}" else Response({"error": "no"}, 401)


def make(request: Request) -> Response:
    MADE.append(request.json()["name"])
    return Response({"made": len(MADE)}, status=201)


def echo_form(request: Request) -> Response:
    return Response({name: [part.filename, part.text] for name, part in request.form().items()})


def stream(request: Request) -> Response:
    return Response((f"line {n}\n".encode() for n in range(3)), content_type="text/plain")


ROUTES = (
    Route("POST", "/jobs", make, creates=True),
    Route("GET", "/jobs/(?P<id>[^/]+)", lambda r: Response({"id": r.arguments["id"], **r.query})),
    Route("POST", "/form", echo_form),
    Route("GET", "/stream", stream),
)


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(Shelf(tmp_path / "shelf"))


@pytest.fixture
def wire(faults: Faults) -> Iterator[Wire]:
    MADE.clear()
    answers = {fault: Response({"error": fault}, 500) for fault in (*BEFORE, "unavailable_after")}
    with Wire(ROUTES, authorise=authorise, faults=faults, fault_responses=answers) as running:
        yield running


def ask(wire: Wire, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(wire.url.removeprefix("http://"), timeout=10)
    sent = {"authorization": f"Bearer {TOKEN}", **headers}
    connection.request(method, path, body=body, headers=sent, encode_chunked="transfer-encoding" in headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_it_listens_on_this_machine_only(wire: Wire) -> None:
    assert wire.url.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{wire.url}/jobs/1", timeout=10)
    assert refused.value.code == 401
    refused.value.close()


def test_routes_and_arguments(wire: Wire) -> None:
    assert json.loads(ask(wire, "GET", "/jobs/a%20b?after=7")[1]) == {"id": "a b", "after": "7"}
    assert ask(wire, "GET", "/nowhere")[0] == 404
    assert ask(wire, "PUT", "/jobs/1")[0] == 404


def test_bodies_of_every_kind(wire: Wire) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"a": 1}\n\r\n--b--\r\n'
    )
    _, said = ask(wire, "POST", "/form", form, **{"content-type": "multipart/form-data; boundary=b"})
    assert json.loads(said) == {"purpose": [None, "fine-tune"], "file": ["a.jsonl", '{"a": 1}\n']}
    pieces = iter([b'{"name": ', b'"x"}'])
    assert ask(wire, "POST", "/jobs", pieces, **{"transfer-encoding": "chunked"}) == (201, b'{"made": 1}')
    assert ask(wire, "GET", "/stream")[1] == b"line 0\nline 1\nline 2\n"


@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_before_has_no_effect(fault: str, wire: Wire, faults: Faults) -> None:
    faults.inject(fault)
    assert ask(wire, "POST", "/jobs", b'{"name": "a"}') == (500, json.dumps({"error": fault}).encode())
    assert MADE == []
    assert ask(wire, "POST", "/jobs", b'{"name": "a"}')[0] == 201


def test_a_fault_after_has_its_effect(wire: Wire, faults: Faults) -> None:
    faults.inject("unavailable_after")
    assert ask(wire, "POST", "/jobs", b'{"name": "a"}')[0] == 500
    faults.inject("dropped_after")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(wire, "POST", "/jobs", b'{"name": "b"}')
    assert MADE == ["a", "b"]


def test_a_share_of_the_calls_fails_and_the_seed_decides_which(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[bool]:
        faults = Faults(Shelf(tmp_path / str(seed) / str(len(list(tmp_path.rglob("*"))))))
        faults.inject("rate_limited", times=200, share=0.3, seed=seed)
        return [faults.takes("rate_limited") for _ in range(201)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 35 < sum(drawn(1)) < 85
    assert not drawn(1)[-1]


def test_pages() -> None:
    rows = list("abcde")
    assert page(rows, after=None, limit=2, key=str) == (["a", "b"], True)
    assert page(rows, after="b", limit=2, key=str) == (["c", "d"], True)
    assert page(rows, after="d", limit=2, key=str) == (["e"], False)


def test_a_closed_server_is_gone(faults: Faults) -> None:
    with Wire((), authorise=authorise, faults=faults, fault_responses={}) as wire:
        port = int(wire.url.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
