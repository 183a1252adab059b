#!/usr/bin/env python3
"""Check that imports point down: between targets as CONTRIBUTING's map says, and between the folders
of a target without a circle.

Usage: architecture.py [--list]

Between targets the `import` statements of Sources count; the map names what each target may import.
Foundation is imported nowhere: it brings along ICU's tables, 40 MB of a program.
Between folders a file depends on the files that declare the types and functions at file level that it
names. Members of extensions are not looked at. With --list every edge is printed. Exits with 1 where an
edge points up, and where folders form a circle.

It reads lines, not syntax trees: sources are formatted by `swift format`. Needs nothing but Python's
standard library.
"""

import argparse
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "Sources"

DECLARATION = re.compile(
    r"^(?:@\w+(?:\([^)]*\))? )*(?:(?:public|package|internal|final|indirect) )*"
    r"(?:struct|class|enum|protocol|actor|typealias|func|let|var) (\w+)",
    re.MULTILINE,
)


def without_texts(text: str) -> str:
    """The code of a file: no comments, and of string literals no text."""
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', re.sub(r"//.*", "", text))


def folder(path: pathlib.Path) -> str:
    """The target and its folder, as in `Formats/GGUF`; the target alone for a file beside them."""
    parts = path.relative_to(SOURCES).parts
    return "/".join(parts[: min(2, len(parts) - 1)])


def allowed_imports(targets: set[str]) -> dict[str, set[str]]:
    """What each target may import, by the map in CONTRIBUTING: what it names, and what that may import."""
    allowed = {}
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        row = re.match(r"\| `Sources/([\w-]+)`[^|]*\|[^|]*\|([^|]*)\|", line)
        if row:
            names = set(re.findall(r"\w+", row[2]))
            allowed[row[1]] = set(targets) if "all" in names else names
    for _ in range(len(targets)):
        for names in allowed.values():
            names |= {below for name in set(names) for below in allowed.get(name, ())}
    return allowed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print every edge")
    arguments = parser.parse_args()

    files = {path: without_texts(path.read_text()) for path in sorted(SOURCES.rglob("*.swift"))}
    targets = {path.relative_to(SOURCES).parts[0] for path in files}
    problems = []

    allowed = allowed_imports(targets)
    edges = collections.defaultdict(set)
    for path, text in files.items():
        target = path.relative_to(SOURCES).parts[0]
        for name in re.findall(r"^import (\w+)$", text, re.MULTILINE):
            if name == "Foundation":
                problems.append(f"{path.relative_to(ROOT)}: FoundationEssentials, not all of Foundation")
            if name in targets:
                edges[target].add(name)
                if name not in allowed.get(target, set()):
                    problems.append(f"{path.relative_to(ROOT)}: the map has no import of {name} here")

    places = collections.defaultdict(set)
    for path, text in files.items():
        for name in DECLARATION.findall(text):
            places[name].add(path)
    for path, text in files.items():
        here = folder(path)
        for name in set(re.findall(r"\w+", text)):
            for place in places.get(name, ()):
                there = folder(place)
                if there != here and there.split("/")[0] == here.split("/")[0]:
                    edges[here].add(there)

    reachable = {}

    def reach(start: str) -> set[str]:
        if start not in reachable:
            found, waiting = set(), [start]
            while waiting:
                for next_ in edges[waiting.pop()]:
                    if next_ not in found:
                        found.add(next_)
                        waiting.append(next_)
            reachable[start] = found
        return reachable[start]

    for start in sorted(edges):
        if arguments.list:
            print(start, "->", ", ".join(sorted(edges[start])) or "nothing")
        for end in sorted(edges[start]):
            if start < end or start not in edges[end]:
                if start in reach(end):
                    problems.append(f"{start} and {end} import each other, or by way of others")
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
