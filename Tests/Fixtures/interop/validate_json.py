"""Validates JSON files against a JSON Schema (draft 2020-12).

    python validate_json.py SCHEMA FILE...    # a FILE may be - for the standard input

References to schemas beside SCHEMA are resolved by their `$id` or file name; nothing is fetched.
Exit code 0: valid, 1: invalid, with one line a violation; 2: a file or the schema is unusable.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource
from referencing.jsonschema import DRAFT202012

SHOWN_VIOLATIONS = 20


def parse(text: str) -> Any:
    """Strict JSON: a repeated name, NaN and Infinity are errors."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) != len(items):
            names = [name for name, _ in items]
            raise ValueError(f"the name '{next(n for n in names if names.count(n) > 1)}' repeats")
        return value

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)


def neighbours(schema: Path) -> Registry:
    """The schemas in the same folder, by `$id` and by file name."""
    registry = Registry()
    for path in sorted(schema.parent.glob("*.json")):
        content = parse(path.read_text(encoding="utf-8"))
        resource = Resource.from_contents(content, default_specification=DRAFT202012)
        registry = registry.with_resource(path.name, resource)
        if isinstance(content, dict) and "$id" in content:
            registry = registry.with_resource(content["$id"], resource)
    return registry


def validator(schema_path: Path) -> Draft202012Validator:
    schema = parse(schema_path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=neighbours(schema_path))


def violations(validator: Draft202012Validator, document: Any) -> list[str]:
    errors = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.path)))
    lines = []
    for error in errors[:SHOWN_VIOLATIONS]:
        deepest = best_match([error]) or error
        lines.append(f"{deepest.json_path}: {deepest.message[:300]}")
    if len(errors) > SHOWN_VIOLATIONS:
        lines.append(f"and {len(errors) - SHOWN_VIOLATIONS} more")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("schema", type=Path, metavar="SCHEMA")
    parser.add_argument("files", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    code = 0
    try:
        schema = validator(arguments.schema)
        for file in arguments.files:
            try:
                text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
                document = parse(text)
            except (OSError, ValueError) as error:
                print(f"{file}: {error}", file=sys.stderr)
                code = 2
                continue
            for line in violations(schema, document):
                print(f"{file}: {line}", file=sys.stderr)
                code = max(code, 1)
    except (OSError, ValueError, SchemaError, NoSuchResource) as error:
        print(f"{arguments.schema}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
