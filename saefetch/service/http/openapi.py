"""The table as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0"""

from __future__ import annotations

from typing import Any, is_typeddict

import saefetch
from saefetch.service.http.problems import PROBLEM_TYPE, title_of
from saefetch.service.http.schema import Schema, Schemas
from saefetch.service.http.shapes import ProblemDocument
from saefetch.service.http.table import COMMON_ERRORS, PLAIN, TABLE, Parameter, Route

JSON = "application/json"
_TOKEN: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {}]
"""The last one: a service on loopback may have no token."""


def document(*, mirror: bool) -> dict[str, Any]:
    """Return the document; without the mirror's addresses where it is not served."""
    schemas = Schemas()
    paths: dict[str, Any] = {}
    for route in TABLE:
        if mirror or route.area != "mirror":
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "saefetch",
            "version": saefetch.__version__,
            "summary": "Feature labels of sparse autoencoders: a queue of downloads, and what they brought.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {"operationId": route.name, "summary": route.about, "tags": [route.area]}
    if route.parameters:
        said["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body is not None:
        content = {JSON: {"schema": schemas.of(route.body)}}
        said["requestBody"] = {"content": content, "required": True}
    headers = {name: {"description": about, "schema": {"type": "string"}} for name, about in route.headers.items()}
    responses = {str(status): _answer(status, kind, headers, schemas) for status, kind in route.answers.items()}
    problem = {PROBLEM_TYPE: {"schema": schemas.of(ProblemDocument)}}
    for status in sorted({*COMMON_ERRORS, *route.errors}):
        refusal = {"description": title_of(status), "content": problem}
        if str(status) in responses:
            responses[str(status)]["content"] |= problem
        else:
            responses[str(status)] = refusal
    said["responses"] = dict(sorted(responses.items()))
    said["security"] = [] if route.is_open else [*_TOKEN, *([{"password": []}] if route.by_password else [])]
    return said


def _answer(status: int, kind: Any, headers: dict[str, Any], schemas: Schemas) -> dict[str, Any]:
    media, schema = (kind, {"type": "string"}) if isinstance(kind, str) else (JSON, schemas.of(kind))
    if media == PLAIN:
        media = f"{PLAIN}; version=0.0.4"
    said: dict[str, Any] = {"description": title_of(status), "content": {media: {"schema": schema}}}
    if headers and is_typeddict(kind):
        said["headers"] = headers
    return said


def _parameter(parameter: Parameter) -> dict[str, Any]:
    if parameter.kind == "number":
        schema: Schema = {"type": "integer", "minimum": parameter.least, "maximum": parameter.most}
    else:
        schema = {"type": "string", "pattern": f"^(?:{parameter.pattern})$"}
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.required,
        "schema": schema,
    }
