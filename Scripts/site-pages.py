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
    """A table of Markdown. Of columns that share a heading, the first is meant."""

    def __init__(self, place: str, lines: list[str]):
        split = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        self.place = place
        self.columns = split[0]
        self.cells = split[2:]

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
                lines.append(line)
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


# How accurate

BITS = ["4", "3", "2"]
STATIC = "static"
ITALIC = re.compile(r"\*(.*)\*")


def loss(cell: str) -> float:
    """What a cell such as '37.91 / 0.9601 (−0.32)' says is lost, in dB."""
    found = re.search(r"\(([−-]?[\d.]+)\)", cell)
    if found is None:
        raise Missing(f"Benchmarks/accuracy.md: no loss in '{cell}'")
    return -number(found[1])


def least_lost(rows: list[tuple[str, ...]]) -> str:
    """The row that loses least on Set5, as a cell."""
    if not rows:
        return "not measured"
    best = min(rows, key=lambda row: loss(row[4]))
    name = ITALIC.sub(r"\1", best[1]).split(",")[0]
    return f"{loss(best[4]):.2f} dB, {name}"


def accuracy_of(section: Section) -> tuple[str, str, dict[str, tuple[float, float]]]:
    """A comparison, the whole tables, and for each number of bits what static ranges and others lose."""
    found = section.table.rows("bits", "method", "activation ranges", "steps", "Set5", "Set14")
    measured = [row for row in found if row[0] in BITS]
    own = [row for row in measured if not ITALIC.fullmatch(row[1])]
    papers = [row for row in measured if ITALIC.fullmatch(row[1])]
    comparison, losses = [], {}
    for bits in BITS:
        static = [row for row in own if row[0] == bits and row[2] == STATIC]
        dynamic = [row for row in own if row[0] == bits and row[2] != STATIC]
        beside = [row for row in papers if row[0] == bits]
        if not static and not dynamic:
            continue
        comparison.append([bits, least_lost(static), least_lost(dynamic), least_lost(beside)])
        if static and dynamic:
            losses[bits] = tuple(min(loss(row[4]) for row in rows) for rows in (static, dynamic))
    if not comparison:
        raise Missing(f"{section.place}: no row of {', '.join(BITS)} bits")
    columns = ["bits", "static ranges", "ranges found when the model runs", "least of the papers, static ranges"]
    tables = ["Lost on Set5, least of all methods measured:", markdown_table(columns, comparison)]
    references = [row for row in found if row[0] not in BITS]
    tables += ["Without quantization:", markdown_table(
        ["", "Set5", "Set14"], [[row[1], row[4], row[5]] for row in references])]
    names = ["bits", "method", "steps", "Set5", "Set14"]
    for title, rows in (
        ("Static ranges, with the papers' rows in italics:",
         [row for row in measured if row[2] == STATIC]),
        ("Ranges found when the model runs:", [row for row in own if row[2] != STATIC]),
    ):
        if rows and "papers" in title:
            tables += [title, markdown_table(names, [[*row[:2], *row[3:]] for row in rows])]
        elif rows:
            tables += [title, markdown_table([*names[:2], "ranges", *names[2:]], [list(row) for row in rows])]
    tables += [for_site(note) for note in section.paragraphs]
    return "\n\n".join(tables), section.place, losses


def how_accurate() -> str:
    document = Document("Benchmarks/accuracy.md")
    networks = {name: accuracy_of(section) for name, section in document.sections.items() if name}
    if "DAT-light ×2" not in networks:
        raise Missing("Benchmarks/accuracy.md: no section 'DAT-light ×2'")
    losses = networks["DAT-light ×2"][2]
    if not losses:
        raise Missing("Benchmarks/accuracy.md: DAT-light ×2 has no bits with both kinds of ranges")
    answer = enumeration(
        [f"{dynamic:.2f} dB at {bits} bits" for bits, (_, dynamic) in losses.items()])
    static = enumeration([f"{static:.2f} dB at {bits} bits" for bits, (static, _) in losses.items()])
    conditioning = Document("Benchmarks/results/conditioning.md")
    measured = conditioning.start.table
    filled = [row for row in measured.cells if any("/" in cell for cell in row[3:])]
    if not filled:
        raise Missing("Benchmarks/results/conditioning.md: no row is measured")
    alone = Document("Benchmarks/results/weights-alone.md")
    parts = [
        "# How accurate quantized models are",
        "What is lost in dB, measured, beside the papers.",
        "## Overview",
        f"DAT-light ×2 loses {answer} on Set5 where ranges of activations are found when the model runs, in groups "
        f"or rows. With static ranges, as in the papers, the least that was measured is {static}. "
        "The two are different tasks: ranges found when the model runs need no more space in the file, but two "
        "numbers per group or one per row beside the codes of activations. "
        "The papers' rows are of SwinIR-light, another network, and count what that loses against itself.",
        for_site(document.start.paragraphs[0]),
        "The whole tables, with the condition numbers, sizes and times, are in `Benchmarks/accuracy.md`.",
    ]
    for name, (tables, _, _) in networks.items():
        parts += [f"## {name}", tables]
    parts += [
        "## What conditioning is worth",
        for_site(conditioning.start.paragraphs[0]),
        markdown_table(measured.columns, filled),
        "These are the rows that have been measured so far of `Benchmarks/results/conditioning.md`.",
        "## Weights alone, without data",
        for_site(alone.start.paragraphs[0]),
    ]
    for bits in ("2", "3", "4"):
        title = f"{bits} bits, tables in full precision"
        table = alone.section(title).table
        rows = table.rows("quantizer", "complete bits", "weights", "outputs", "cosine", "rank correlation")
        if not any("condi-convert" in row[0] for row in rows):
            raise Missing(f"{table.place}: no row of condi-convert")
        parts += [f"### {title}", markdown_table(table.columns, [list(row) for row in rows])]
    return "\n\n".join(parts) + "\n"
