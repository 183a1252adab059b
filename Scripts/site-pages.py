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

import json
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

    def __init__(self, page: str, place: str):
        self.page = page
        self.place = place
        self.lines: list[str] = []

    @property
    def paragraphs(self) -> list[str]:
        blocks = re.split(r"\n{2,}", "\n".join(self.lines).strip())
        return [for_site(block, self.page) for block in blocks if block and not block.startswith("|")]

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
        self.sections = {"": Section(path, path)}
        name, fenced = "", False
        for line in text.splitlines():
            fenced ^= line.lstrip().startswith("```")
            if line.startswith("## ") and not fenced:
                name = line[3:].strip()
                self.sections[name] = Section(path, f"{path}: {name}")
            elif fenced or not line.startswith("# "):
                self.sections[name].lines.append(line)

    def section(self, name: str) -> Section:
        if name not in self.sections:
            raise Missing(f"{self.path}: no section '{name}'")
        return self.sections[name]

    @property
    def start(self) -> Section:
        return self.sections[""]


def for_site(text: str, page: str) -> str:
    """A text of a file of the repository, with paths instead of links: the site has no such files."""
    pages = {"#how-to-add-a-format": "AddingAFormat", "#how-to-add-a-method": "AddingAMethod",
             "#how-to-add-a-network": "AddingANetwork"}

    def link(found: re.Match) -> str:
        label, target = found[1], found[2]
        if "://" in target:
            return found[0]
        if target in pages:
            return f"<doc:{pages[target]}>"
        file = target.partition("#")[0]
        path = (ROOT / page).parent.joinpath(file).resolve().relative_to(ROOT) if file else page
        is_name = label.strip("`") == file
        return f"`{path}`" if is_name else f"{label} (`{path}`)"

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


def accuracy_of(section: Section) -> tuple[str, dict[str, tuple[float, float]], set[str], dict[str, float]]:
    """The tables of a network, for each number of bits what static ranges and others lose, the bits at
    which `best` was measured with static ranges, and for each number of bits what papers lose at least."""
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
    tables += section.paragraphs
    best = {row[0] for row in own if row[2] == STATIC and row[1].startswith("best")}
    of_papers = {
        bits: min(loss(row[4]) for row in papers if row[0] == bits)
        for bits in BITS if any(row[0] == bits for row in papers)}
    return "\n\n".join(tables), losses, best, of_papers


def how_accurate() -> str:
    document = Document("Benchmarks/accuracy.md")
    networks = {name: accuracy_of(section) for name, section in document.sections.items() if name}
    if "DAT-light ×2" not in networks:
        raise Missing("Benchmarks/accuracy.md: no section 'DAT-light ×2'")
    losses = networks["DAT-light ×2"][1]
    if not losses:
        raise Missing("Benchmarks/accuracy.md: DAT-light ×2 has no bits with both kinds of ranges")
    answer = enumeration(
        [f"{dynamic:.2f} dB at {bits} bits" for bits, (_, dynamic) in losses.items()])
    static = enumeration([f"{static:.2f} dB at {bits} bits" for bits, (static, _) in losses.items()])
    figures = json.loads((ROOT / "Benchmarks/accuracy.json").read_text())
    places = sorted({f"{row['machine']} (commit {row['commit']})" for row in figures.values()})
    unmeasured = sorted(set(BITS) - networks["DAT-light ×2"][2])
    papers = enumeration([
        f"{least:.2f} dB at {bits} bits" for bits, least in networks["DAT-light ×2"][3].items()])
    conditioning = Document("Benchmarks/results/conditioning.md")
    measured = conditioning.start.table
    filled = [row for row in measured.cells if any("/" in cell for cell in row[3:])]
    if not filled:
        raise Missing("Benchmarks/results/conditioning.md: no row is measured")
    alone = Document("Benchmarks/results/weights-alone.md")
    parts = [
        "# How accurate it is",
        "What is lost in dB, measured, beside the papers.",
        "## Overview",
        f"DAT-light ×2 loses {answer} on Set5 where ranges of activations are found when the model runs, in groups "
        "or rows.",
        f"With static ranges, as in the papers, the least that was measured is {static}. "
        f"The papers lose {papers}, of another network, SwinIR-light, against itself in full precision."
        + (f" `best` with static ranges is not measured at {enumeration(unmeasured)} bits yet." if unmeasured else ""),
        "The two kinds of ranges are different tasks. Ranges found when the model runs need no more space in the file, "
        "but two numbers per group, or one per row, beside the codes of activations.",
        document.start.paragraphs[0],
        f"Rows are from {enumeration(places)}. "
        "The whole tables, with the condition numbers, sizes and times, are in `Benchmarks/accuracy.md`.",
    ]
    for name, (tables, *_) in networks.items():
        parts += [f"## {name}", tables]
    parts += [
        "## What conditioning is worth",
        conditioning.start.paragraphs[0],
        markdown_table(measured.columns, filled),
        "These are the rows that have been measured so far of `Benchmarks/results/conditioning.md`.",
        "## Weights alone, without data",
        alone.start.paragraphs[0],
    ]
    for bits in ("2", "3", "4"):
        title = f"{bits} bits, tables in full precision"
        table = alone.section(title).table
        rows = table.rows("quantizer", "complete bits", "weights", "outputs", "cosine", "rank correlation")
        if not any("condi-convert" in row[0] for row in rows):
            raise Missing(f"{table.place}: no row of condi-convert")
        parts += [f"### {title}", markdown_table(table.columns, [list(row) for row in rows])]
    return "\n\n".join(parts) + "\n"


# How fast


def networks() -> tuple[str, str]:
    """A sentence, and a table with one row per network, of times beside two rivals'."""
    document = Document("Benchmarks/results/networks.md")
    found = document.start.table.rows("network", "side", "", "forward pass", "peak memory")
    by_network: dict[str, dict[str, tuple[float, str, str]]] = {}
    for network, side, tool, seconds, memory in found:
        tools = by_network.setdefault(f"{network}, {side} pixels", {})
        tools[tool.split(",")[0]] = (number(seconds), seconds, memory)
    tools = ["condi-convert", "PyTorch", "ONNX Runtime"]
    rows, ratios = [], {tool: [] for tool in tools[1:]}
    for network, measured in by_network.items():
        for tool in tools:
            if tool not in measured:
                raise Missing(f"{document.path}: {network}: no row of {tool}")
        for tool in ratios:
            ratios[tool].append(measured[tool][0] / measured["condi-convert"][0])
        rows.append([network, *(", ".join(measured[tool][1:]) for tool in tools)])

    def beside(tool: str) -> str:
        found = ratios[tool]
        faster = sum(ratio > 1 for ratio in found)
        return (f"{statistics.median(found):.1f} times as fast as {tool} (median; {min(found):.1f} to "
                f"{max(found):.1f}, faster with {faster} of {len(found)} networks)")

    sentence = f"A forward pass in full precision is {beside('PyTorch')}, and {beside('ONNX Runtime')}."
    return sentence, markdown_table(["network", *tools], rows)


def low_bits() -> tuple[str, str]:
    """A sentence and a table: how much faster than full precision 4 bits are, by the ranges of inputs."""
    document = Document("Benchmarks/results/low-bits.md")
    found = document.start.table.rows("network", "level", "bounds of inputs", "time", "faster")
    times: dict[tuple[str, str], dict[str, float]] = {}
    for network, level, bounds, time, _ in found:
        times.setdefault((network, level), {})[bounds] = number(time)
    columns = ["full precision", "tensor", "row", "group:16"]
    rows, ratios = [], {bounds: [] for bounds in columns[1:]}
    for (network, level), measured in times.items():
        for bounds in columns:
            if bounds not in measured:
                raise Missing(f"{document.path}: {network}, {level}: no row '{bounds}'")
        for bounds in ratios:
            ratios[bounds].append(measured["full precision"] / measured[bounds])
        rows.append([network, level, f"{measured['full precision']:.1f} ms",
                     *(f"{ratios[bounds][-1]:.2f}×" for bounds in ratios)])

    def span(bounds: str) -> str:
        return f"{min(ratios[bounds]):.2f} to {max(ratios[bounds]):.2f}"

    sentence = (
        f"A network of 4 bits runs {span('tensor')} times as fast as in full precision with static ranges of "
        f"inputs, and {span('group:16')} times as fast with ranges in groups of 16: low bits save space first.")
    names = ["network", "vector level", "full precision", "4 bits, static", "4 bits, rows", "4 bits, groups of 16"]
    return sentence, markdown_table(names, rows)


def results(path: str, *columns: str) -> str:
    """The prose of a page of results, and these columns of its first table."""
    sections = Document(path).sections.values()
    section = next((each for each in sections if any(line.startswith("|") for line in each.lines)), None)
    if section is None:
        raise Missing(f"{path}: no table")
    table = markdown_table(list(columns), [list(row) for row in section.table.rows(*columns)])
    return "\n\n".join([*Document(path).start.paragraphs, table, f"The whole table is in `{path}`."])


def how_fast() -> str:
    run, run_table = networks()
    packed, packed_table = low_bits()
    compared = Document("Benchmarks/results/convert-inspect.md").start.table.rows("faster", "without import")
    whole, alone = ([number(row[index]) for row in compared] for index in (0, 1))
    trained = Document("Benchmarks/results/training.md").start.table.rows("network", "faster")
    steps = enumeration([f"{faster.strip('×')} times for {network}" for network, faster in trained])
    parts = [
        "# How fast it runs",
        "Times and memory, measured beside PyTorch and ONNX Runtime in the same run.",
        "## Overview",
        run,
        packed,
        f"Beside PyTorch, a step of learning is faster: {steps}. "
f"Whole runs of `convert` and `inspect` are {min(whole)} to {max(whole)} times as fast as those of a Python "
        f"script, and {min(alone)} to {max(alone)} times as fast as what it does after the import of PyTorch.",
        "Each section says how, and on which processor, its figures were measured. "
        "The whole tables are in `Benchmarks/results`.",
        "## Networks in full precision",
        *Document("Benchmarks/results/networks.md").start.paragraphs,
        run_table,
        "Ratios and differences are in `Benchmarks/results/networks.md`.",
        "## Networks of 4 bits",
        *Document("Benchmarks/results/low-bits.md").start.paragraphs,
        packed_table,
        "Factors in this table are full precision's time divided by that of 4 bits, both in the later program. "
        "All rows are in `Benchmarks/results/low-bits.md`.",
        "## A whole test set",
        results("Benchmarks/results/super-resolution.md", "model", "", "wall", "CPU", "peak memory", "faster", "PSNR"),
        "## A step of learning",
        results("Benchmarks/results/training.md", "network", "batch", "faster", "less CPU", "peak memory"),
        "## Converting and inspecting",
        results("Benchmarks/results/convert-inspect.md", "model", "task", "condi-convert", "PyTorch", "faster",
                "without import", "less memory"),
        "## Kernels",
        results("Benchmarks/results/kernels.md", "layer", "float", "torch / float", "float / 4 bits",
                "4 bits in groups"),
    ]
    return "\n\n".join(parts) + "\n"


# Recipes for contributors


def recipe(title: str, section: str, abstract: str) -> str:
    """A page with a section of CONTRIBUTING.md."""
    body = "\n".join(Document("CONTRIBUTING.md").section(section).lines).strip()
    if not re.search(r"^1\. \*\*", body, re.MULTILINE):
        raise Missing(f"CONTRIBUTING.md: {section}: no numbered steps")
    return f"# {title}\n\n{abstract}\n\n## Overview\n\n{for_site(body, 'CONTRIBUTING.md')}\n"


PAGES = {
    "HowAccurate": how_accurate,
    "HowFast": how_fast,
    "AddingAFormat": lambda: recipe(
        "Adding a format", "How to add a format",
        "What to write, register, bound and test for a format of model files."),
    "AddingAMethod": lambda: recipe(
        "Adding a method", "How to add a method",
        "What to name, write, call and measure for a method of quantization."),
    "AddingANetwork": lambda: recipe(
        "Adding a network", "How to add a network",
        "What to describe, register and test for a network that upscales images."),
}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-") and sys.argv[1] != "--check":
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 64
    try:
        pages = {name: make() for name, make in PAGES.items()}
    except Missing as error:
        print(f"site-pages.py: {error}", file=sys.stderr)
        return 1
    for name, text in pages.items():
        if sys.argv[1] != "--check":
            path = pathlib.Path(sys.argv[1]) / f"{name}.md"
            if path.exists():
                print(f"site-pages.py: {path} exists: such pages are made, not kept", file=sys.stderr)
                return 1
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
