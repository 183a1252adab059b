#!/usr/bin/env python3
"""Write the Swift examples of the libraries' documentation as one file, to be compiled.

Usage: doc-examples.py OUT.swift

Takes every block of Swift from the README, the catalogs' pages and the documentation comments of public
declarations, each as a function of its own, so that an example must hold all that it uses. Errors of
the compiler name the page. Blocks that are no program, such as parts of a Package.swift, are the few
in SKIPPED. Needs nothing but Python's standard library.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = [
    "Formats", "FoundationEssentials", "Imaging", "Inspect", "LinearAlgebra", "Reports", "Storage",
    "SuperResolution", "Transform",
]
SKIPPED = re.compile(r"^(dependencies:|\.package\(|\.product\()")


def blocks_of_page(path: pathlib.Path):
    """(line, code) of each block of Swift."""
    lines = path.read_text().splitlines()
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line.strip() == "```swift":
            start = number
        elif start is not None and line.strip() == "```":
            yield start + 1, "\n".join(lines[start : number - 1])
            start = None


def blocks_of_source(path: pathlib.Path):
    """(line, code) of each block of Swift in the comment before a public declaration."""
    comment = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if text.startswith("///"):
            comment.append((number, text[4:]))
            continue
        if comment and text.startswith("@"):
            continue
        if comment and re.match(r"(?:\w+ )*public ", text):
            start = None
            for index, (_, content) in enumerate(comment):
                if start is None and content == "```swift":
                    start = index
                elif start is not None and content == "```":
                    block = comment[start + 1 : index]
                    yield block[0][0], "\n".join(content for _, content in block)
                    start = None
        comment = []


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 64
    found = []
    pages = [
        ROOT / "README.md",
        *ROOT.glob("Sources/*/*.docc/*.md"),
        *ROOT.glob("Documentation/*.docc/*.md"),
    ]
    for path in sorted(pages):
        found += [(path, *block) for block in blocks_of_page(path)]
    for path in sorted(ROOT.glob("Sources/**/*.swift")):
        found += [(path, *block) for block in blocks_of_source(path)]
    text = "".join(f"import {library}\n" for library in LIBRARIES)
    for index, (path, line, code) in enumerate(found):
        if SKIPPED.match(code):
            continue
        text += f"\nfunc example{index}() throws {{\n"
        text += f'#sourceLocation(file: "{path.relative_to(ROOT)}", line: {line})\n'
        text += f"{code}\n#sourceLocation()\n}}\n"
    output = pathlib.Path(sys.argv[1])
    if not output.exists() or output.read_text() != text:
        output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
