"""JSON as RFC 8259 has it, with what the page adds: UTF-8 and no duplicate names."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from .errors import PackedError


def parse(data: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(items)
        if len(members) != len(items):
            raise PackedError("header: a name occurs twice in an object")
        return members

    def constant(name: str) -> NoReturn:
        raise PackedError(f"header: {name} is not JSON")

    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        # Escapes of lone surrogates pass the parser, but are no text.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except PackedError:
        raise
    except (ValueError, RecursionError) as error:
        raise PackedError(f"header: {error}") from error
    return value
