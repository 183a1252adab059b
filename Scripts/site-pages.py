#!/usr/bin/env python3
"""Write the pages of the documentation's site that say what stands elsewhere in the repository.

Usage: site-pages.py CATALOG
       site-pages.py --check

HowAccurate.md and HowFast.md are made from the results in Benchmarks, AddingAFormat.md, AddingAMethod.md and
AddingANetwork.md from the sections of CONTRIBUTING.md. CATALOG is a copy of
Documentation/condi-convert.docc, which 'make docs' makes. With --check the pages are made and not
written. A section, table, column or row that a page needs and that is missing is an error. Needs
nothing but Python's standard library.
"""

import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Missing(Exception):
    """What a page needs, and its source does not have."""


class Table:
    """A table of Markdown: rows are dictionaries from the heading of a column to the cell's text.

    Of columns that share a heading, as PyTorch's beside others, a row has the first; `cells` has all.
    """

    def __init__(self, place: str, lines: list[str]):
        split = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        # A cell at either end may be empty, which the strokes alone do not show.
        self.place = place
        self.columns = split[0]
        self.cells = split[2:]
        self.lines = lines

    def column(self, name: str) -> int:
        if name not in self.columns:
            raise Missing(f"{self.place}: no column '{name}'")
        return self.columns.index(name)

    def rows(self, *names: str) -> list[tuple[str, ...]]:
        """The cells of these columns, one tuple per row."""
        indices = [self.column(name) for name in names]
        for number, row in enumerate(self.cells, 1):
            if len(row) != len(self.columns):
                raise Missing(f"{self.place}: row {number} has {len(row)} of {len(self.columns)} cells")
        if not self.cells:
            raise Missing(f"{self.place}: no rows")
        return [tuple(row[index] for index in indices) for row in self.cells]


class Section:
    """What stands below a heading: paragraphs and tables in their order."""

    def __init__(self, place: str):
        self.place = place
        self.lines: list[str] = []

    @property
    def paragraphs(self) -> list[str]:
        blocks = re.split(r"\n{2,}", "\n".join(self.lines).strip())
        return [block for block in blocks if block and not block.startswith("|")]

    @property
    def table(self) -> Table:
        lines = []
        for line in self.lines:
            if line.startswith("|"):
                lines.append(line.replace("| |", "|  |"))
            elif lines:
                break
        if len(lines) < 2:
            raise Missing(f"{self.place}: no table")
        return Table(self.place, lines)


class Document:
    """A file of Markdown by its sections."""

    def __init__(self, path: str):
        self.path = path
        try:
            text = (ROOT / path).read_text()
        except FileNotFoundError:
            raise Missing(f"{path}: no such file") from None
        self.sections = {"": Section(path)}
        name, fenced = "", False
        for line in text.splitlines():
            fenced ^= line.lstrip().startswith("```")
            if line.startswith("## ") and not fenced:
                name = line[3:].strip()
                self.sections[name] = Section(f"{path}: {name}")
            elif fenced or not line.startswith("# "):
                self.sections[name].lines.append(line)

    def section(self, name: str) -> Section:
        if name not in self.sections:
            raise Missing(f"{self.path}: no section '{name}'")
        return self.sections[name]

    @property
    def start(self) -> Section:
        return self.sections[""]


def for_site(text: str) -> str:
    """A text of the repository without links to its files: the site does not have them."""
    pages = {"#how-to-add-a-format": "AddingAFormat", "#how-to-add-a-method": "AddingAMethod",
             "#how-to-add-a-network": "AddingANetwork"}

    def link(found: re.Match) -> str:
        label, target = found[1], found[2]
        if "://" in target:
            return found[0]
        return f"<doc:{pages[target]}>" if target in pages else f"`{label.strip('`')}`"

    return re.sub(r"\[([^]\n]*)\]\(([^)\s]*)\)", link, text)


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(text: str) -> float:
    found = re.search(r"[−-]?\d[\d,]*\.?\d*", text)
    if found is None:
        raise Missing(f"no number in '{text}'")
    return float(found[0].replace("−", "-").replace(",", ""))


def enumeration(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
