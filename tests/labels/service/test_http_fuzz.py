"""Requests drawn from the OpenAPI document, sensible and not: each is answered as the document says, never by a 500.

For a longer run: `SAEFETCH_FUZZ_EXAMPLES=200000 pytest -n0 tests/labels/service/test_http_fuzz.py --timeout 0`.
"""

import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from harness import MODEL, NEURONPEDIA_ID, RELEASE, SAE_ID, SOURCE, download, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from service_server import DOCUMENT, Served

from standin import Standin

N_EXAMPLES = int(os.environ.get("SAEFETCH_FUZZ_EXAMPLES", "300"))
N = 40
FOLDER = SAE_ID.replace("/", "_")
KNOWN = {
    "model": MODEL,
    "modelId": MODEL,
    "source": SOURCE,
    "saeId": SOURCE,
    "index": "7",
    "release": RELEASE,
    "folder": FOLDER,
    "sae": f"{RELEASE}/{FOLDER}",
    "id": "1",
    "q": "about",
}
"""What leads somewhere, by the name of the parameter."""
ODD = st.sampled_from(
    [
        "",
        ".",
        "..",
        "../..",
        "%",
        "%2f",
        "\0",
        "\n",
        "-1",
        "007",
        "1e9",
        "9" * 30,
        "x" * 5000,
        "é",
        "\u2028",
        "٣",
        '"',
        "*",
        "a/b",
    ]
)
BYTES = st.binary(max_size=20).map(lambda raw: raw.decode("latin-1"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("fuzz") / "sae"
    with Standin(make_world(N, missing=[3])) as standin:
        download(standin, path, "batch")
    with Served(path, max_attempts=1, max_wait_s=0) as served:
        yield served


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw what fits a schema, as far as this document needs it."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return st.one_of([values_of(inner) for inner in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "string":
            return st.from_regex(schema["pattern"]) if "pattern" in schema else st.text(max_size=20)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(values_of(schema["items"]), max_size=4)
        case "object":
            members = {name: values_of(inner) for name, inner in schema["properties"].items()}
            required = {name: members[name] for name in schema.get("required", ())}
            optional = {name: member for name, member in members.items() if name not in required}
            return st.fixed_dictionaries(required, optional=optional)
    raise AssertionError(schema)


FEATURES = st.lists(
    st.fixed_dictionaries(
        {
            "modelId": st.just(MODEL),
            "layer": st.just(SOURCE),
            "index": st.integers(0, N) | st.integers() | st.floats() | st.integers().map(str) | ODD,
        }
    ),
    max_size=3,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KNOWN, "sae_id", "source"]), inner),
    max_leaves=10,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Last_Event_ID", "Content_Type", "Origin", "X_Request_Id", "Authorization", "Accept", "If_None_Match"]
    ),
    ODD.filter(lambda text: text.isprintable()) | st.text("abc/;=,*019", max_size=12),
    max_size=2,
).map(lambda headers: {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()})


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, Any, dict[str, str]]:
    path = draw(st.sampled_from(sorted(DOCUMENT["paths"])))
    method = draw(st.sampled_from(sorted(DOCUMENT["paths"][path])))
    operation = DOCUMENT["paths"][path][method]
    query = []
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        fitting = values_of(parameter["schema"]).map(str)
        value = draw(st.one_of(st.just(KNOWN.get(name, "1")), fitting, ODD, BYTES))
        raw = quote(value.encode("utf-8", "surrogatepass"), safe="")
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", raw)
        elif parameter["in"] == "query" and draw(st.booleans()):
            query += [f"{name}={raw}"] * draw(st.sampled_from([1, 1, 1, 2]))
    if draw(st.integers(0, 9)) == 0:
        query.append(quote(draw(ODD | BYTES).encode("utf-8", "surrogatepass"), safe="=&"))
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        known = FEATURES if path == "/api/features" else st.just({})
        body = draw(st.one_of(values_of(schema), JSON, st.binary(max_size=40), known))
    return method.upper(), path + ("?" + "&".join(query) if query else ""), body, draw(HEADERS)


@pytest.mark.filterwarnings("ignore:Do not use the `random` module:DeprecationWarning")  # the server's thread does
@settings(max_examples=N_EXAMPLES)
@given(request=requests())
def test_whatever_is_asked_is_answered_as_the_document_says(served: Served, request: tuple[str, str, Any, Any]) -> None:
    method, target, body, headers = request
    if target.startswith("/v1/events"):  # whose answer has no end
        headers["Last_Event_ID"] = "x"
    answer = served.ask(method, target, body, **headers)  # which compares the answer with the document
    assert answer.status < 500 or answer.status == 503, (answer.status, answer.body)
    if answer.status >= 400 and not target.startswith("/readyz"):
        assert answer.problem


@settings(max_examples=max(60, N_EXAMPLES // 5))
@given(line=st.binary(max_size=60), head=st.sampled_from([b"", b"GET /", b"POST /v1/jobs?", b"GET /api/feature/%"]))
def test_what_is_no_http_hurts_nobody(served: Served, line: bytes, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        end = b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % served.port
        connection.sendall(head + line + end + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert b"HTTP/1.1 500" not in answer and b"Traceback" not in answer


def test_the_known_values_lead_somewhere(served: Served) -> None:
    assert served.ask("GET", f"/api/feature/{NEURONPEDIA_ID}/7").status == 200
    assert served.ask("GET", f"/v1/saes/{RELEASE}/{FOLDER}/features/7").status == 200
