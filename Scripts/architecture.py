#!/usr/bin/env python3
"""Check that imports point down: between targets as CONTRIBUTING's map says, and between the folders
of a target without a circle; and that the map has every folder.

Usage: architecture.py [--list]

Between targets the `import` statements of Sources count; the map names what each target may import.
Foundation is imported nowhere: it brings along ICU's tables, 40 MB of a program.
Between folders a file depends on the files that declare the types and functions at file level that it
names. Members of extensions are not looked at. With --list every edge is printed. Exits with 1 where an
edge points up, where folders form a circle, where a folder of the package, of Sources or of Tests is not on
the map, and where the map has one that does not exist.

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


def unmapped_folders() -> list[str]:
    """Complaints about folders that the map lacks, and about names on it that stand for no folder.

    In a row's first cell each name is a path, or, after the first, the name of a folder beside it. A '…'
    stands for any letters. A folder whose own folders are on the map is on it as well.
    """
    mapped = []
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        cell = re.match(r"\| (`[^|]*) \|[^|]*\|[^|]*\|$", line)
        parent = ""
        for name in re.findall(r"`([^`]+)`", cell[1] if cell else ""):
            mapped.append(name if "/" in name else parent + name)
            parent = mapped[-1][: mapped[-1].rfind("/") + 1]
    ignored = [
        re.compile(re.escape(rule.strip("/")).replace(r"\*", ".*"))
        for rule in (ROOT / ".gitignore").read_text().split()
    ]
    folders = [
        path.relative_to(ROOT).as_posix()
        for parent in (ROOT, SOURCES, ROOT / "Tests")
        for path in sorted(parent.iterdir())
        if path.is_dir() and path.name != ".git" and not any(rule.fullmatch(path.name) for rule in ignored)
    ]
    patterns = {name: re.compile(re.escape(name).replace("…", r"\w*")) for name in mapped}
    problems = []
    for folder in folders:
        inside = [other for other in folders if other == folder or other.startswith(folder + "/")]
        if not any(pattern.fullmatch(other) for pattern in patterns.values() for other in inside):
            problems.append(f"CONTRIBUTING.md: the map has no {folder}")
    for name, pattern in patterns.items():
        if not any(map(pattern.fullmatch, folders)):
            problems.append(f"CONTRIBUTING.md: the map has {name}, which does not exist")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print every edge")
    arguments = parser.parse_args()

    files = {path: without_texts(path.read_text()) for path in sorted(SOURCES.rglob("*.swift"))}
    targets = {path.relative_to(SOURCES).parts[0] for path in files}
    problems = unmapped_folders()

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
