"""JSON Schema of the TypedDicts in which the service's answers are declared.

`Annotated[int, ("minimum", 1)]` adds to the schema what Python's types cannot say.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]
_PLAIN: dict[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


class Schemas:
    """Collects the TypedDicts that are named, under `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:
        """Return the schema of a type; a TypedDict becomes a reference to its own.

        Raises: TypeError for a type that has no place in JSON.
        """
        if is_typeddict(kind):
            return self._named(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:
            return {}
        if kind in _PLAIN:
            return {"type": _PLAIN[kind]}
        if origin is Annotated:
            return self.of(arguments[0]) | dict(arguments[1:])
        if origin in (NotRequired, Required):
            return self.of(arguments[0])
        if origin is Literal:
            return {"enum": [*arguments]}
        if origin in (UnionType, Union):
            return {"anyOf": [self.of(argument) for argument in arguments]}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"{kind!r} has no place in JSON")

    def _named(self, kind: Any) -> Schema:
        name = kind.__name__
        if name not in self.components:
            self.components[name] = {}  # so that a type may hold itself
            members = get_type_hints(kind, include_extras=True)
            schema: Schema = {
                "type": "object",
                "properties": {member: self.of(declared) for member, declared in members.items()},
                "additionalProperties": False,
            }
            required = [member for member, declared in members.items() if get_origin(declared) is not NotRequired]
            if required and kind.__total__:
                schema["required"] = required
            if kind.__doc__ and not kind.__doc__.startswith("dict("):
                schema["description"] = " ".join(kind.__doc__.split())
            self.components[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}
