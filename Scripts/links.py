#!/usr/bin/env python3
"""Check the links of the repository's Markdown files.

Usage: links.py [FILE.md]...

A relative link must lead to a file or folder of the repository, and its anchor to a heading there. A
<doc:Page> must be a page of its DocC catalog, one that Scripts/site-pages.py makes, or a heading of the
same page. Of an external address only the form is checked; nothing is fetched. Without arguments all
Markdown files are checked but those below folders of builds. What stands in code is no link. Needs
nothing but Python's standard library.
"""

import importlib.util
import pathlib
import re
import sys
import unicodedata
from urllib.parse import unquote, urlsplit

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = {".build", ".build-mpi", ".git", ".venv-interop", "node_modules", "out", "shared"}
LINK = re.compile(r"!?\[(?:[^]\[]|\[[^]]*\])*\]\(\s*<?([^)\s>]*)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
DOCUMENT = re.compile(r"<doc:([^>]*)>|\]\(doc:([^)]*)\)")
AUTOMATIC = re.compile(r"<(https?:[^>\s]*)>")
ATTRIBUTE = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]*)\"")


def without_code(text: str) -> str:
    """The text with blanks for code, line by line as before."""
    lines, fence = [], None
    for line in text.split("\n"):
        found = re.match(r"\s*(?:> ?)*(`{3,}|~{3,})", line)
        if fence is None and found:
            fence = found[1]
            lines.append("")
        elif fence is not None:
            if found and found[1].startswith(fence) and line.strip().strip("`~") == "":
                fence = None
            lines.append("")
        else:
            lines.append(line)

    def blanks(found: re.Match) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    text = "\n".join(lines)
    text = re.sub(r"<!--.*?-->", blanks, text, flags=re.DOTALL)
    # A span of code may go on in the next line, but not past an empty one.
    return re.sub(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", blanks, text, flags=re.DOTALL)


def headings(text: str) -> list[str]:
    """The texts of a page's headings, marks of code and links left out."""
    # Only fences hide a heading; code in one is part of its name.
    found, fenced = [], False
    for line in text.split("\n"):
        fenced ^= bool(re.match(r"\s*(?:```|~~~)", line))
        heading = None if fenced else re.match(r"#{1,6} +(.*?)(?: +#+)?\s*$", line)
        if heading:
            found.append(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", ""))
    return found


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    found: set[str] = set(re.findall(r"<a\s+(?:id|name)=\"([^\"]*)\"", text))
    for heading in headings(text):
        kept = "".join(
            letter for letter in heading.lower()
            if letter in " -_" or unicodedata.category(letter)[0] in "LN")
        base = kept.strip().replace(" ", "-")
        number, name = 0, base
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found.add(name)
    return found


def made_pages() -> set[str]:
    """The pages that the site's build adds to the catalog in Documentation."""
    path = ROOT / "Scripts/site-pages.py"
    spec = importlib.util.spec_from_file_location("site_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(module.PAGES)


def line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


class Checker:
    def __init__(self):
        self.made = made_pages()
        self.faults: list[str] = []
        self.count = 0
        self.texts: dict[pathlib.Path, str] = {}

    def text(self, path: pathlib.Path) -> str:
        if path not in self.texts:
            self.texts[path] = path.read_text()
        return self.texts[path]

    def check(self, path: pathlib.Path) -> None:
        text = without_code(self.text(path))
        catalog = next((each for each in path.parents if each.suffix == ".docc"), None)
        found = [(each.start(), each[1]) for pattern in (LINK, REFERENCE, AUTOMATIC, ATTRIBUTE)
                 for each in pattern.finditer(text)]
        for place, target in found:
            if not target.startswith("doc:"):
                self.report(path, text, place, self.fault(path, target))
        for each in DOCUMENT.finditer(text):
            self.report(path, text, each.start(), self.page_fault(path, catalog, each[1] or each[2] or ""))

    def report(self, path: pathlib.Path, text: str, place: int, fault: str | None) -> None:
        self.count += 1
        if fault:
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            self.faults.append(f"{shown}:{line_of(text, place)}: {fault}")

    def fault(self, path: pathlib.Path, target: str) -> str | None:
        parts = urlsplit(target)
        if parts.scheme in ("http", "https"):
            is_host = re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?|localhost(:\d+)?", parts.netloc)
            return None if is_host else f"'{target}' is no address of a host"
        if parts.scheme == "mailto":
            return None if "@" in parts.path else f"'{target}' is no address for mail"
        if parts.scheme or parts.netloc:
            return f"'{target}' has a scheme that readers cannot open"
        if not target:
            return "a link without a target"
        file = path
        if parts.path:
            if parts.path.startswith("/"):
                return f"'{target}' begins with '/', which no checkout has"
            file = (path.parent / unquote(parts.path)).resolve()
            if not file.exists():
                return f"'{target}' does not exist"
            if not file.is_relative_to(ROOT):
                return f"'{target}' is outside the repository"
        if not parts.fragment:
            return None
        if file.suffix != ".md":
            return f"'{target}' has an anchor, but is no Markdown file"
        if unquote(parts.fragment) not in anchors(self.text(file)):
            return f"'{target}': no heading has this anchor"
        return None

    def page_fault(self, path: pathlib.Path, catalog: pathlib.Path | None, target: str) -> str | None:
        if catalog is None:
            return f"<doc:{target}> stands in no catalog"
        name, _, anchor = target.partition("#")
        # DocC knows an article by the name of its file alone, wherever in the catalog it lies.
        name = name.rsplit("/", 1)[-1]
        pages = {each.stem.replace(" ", "-"): each for each in catalog.rglob("*.md")}
        if name and name not in pages:
            is_made = catalog == ROOT / "Documentation/condi-convert.docc" and name in self.made
            return None if is_made else f"<doc:{target}>: no page of this name in {catalog.name}"
        file = pages[name] if name else path
        if anchor:
            known = {re.sub(r"\s+", "-", each.strip()).lower() for each in headings(self.text(file))}
            if unquote(anchor).lower() not in known:
                return f"<doc:{target}>: no heading has this name"
        return None


def all_files() -> list[pathlib.Path]:
    return sorted(
        path for path in ROOT.rglob("*.md")
        if not SKIPPED & set(path.relative_to(ROOT).parts[:-1]))


def main() -> int:
    if any(argument.startswith("-") for argument in sys.argv[1:]):
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 64
    files = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]] or all_files()
    checker = Checker()
    for path in files:
        checker.check(path)
    for fault in checker.faults:
        print(fault, file=sys.stderr)
    print(f"{len(files)} files, {checker.count} links, {len(checker.faults)} broken")
    return 1 if checker.faults or not checker.count else 0


if __name__ == "__main__":
    sys.exit(main())
