#!/usr/bin/env python3
"""Write the manual pages of condi-convert, from what the program says of itself and the commands' pages.

Usage: make-manual.py PROGRAM FOLDER

Makes condi-convert.1 and a page for each subcommand, condi-convert-NAME.1, in the man(7) macros.
The sections of a subcommand's page come from Documentation/condi-convert.docc/Commands/NAME.md.
Needs nothing but Python's standard library. The pages' date is that of SOURCE_DATE_EPOCH, which
makes the same pages each time, or today.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time

SECTION = "1"
ARTICLES = pathlib.Path(__file__).resolve().parent.parent / "Documentation/condi-convert.docc/Commands"
# A discussion's parts begin with a line of capitals.
HEADING = re.compile(r"[A-Z][A-Z ]+$")


def escape(text: str) -> str:
    """Text as roff prints it: no escapes, hyphens that can be searched for and copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = text.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    # A line that begins like a request would be one.
    return re.sub(r"^\.", r"\\&.", text, flags=re.M)


def bold(text: str) -> str:
    return f"\\fB{escape(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{escape(text)}\\fR"


def name(spelling: dict) -> str:
    return ("--" if spelling["kind"] == "long" else "-") + spelling["name"]


def spellings(argument: dict) -> str:
    """`-q, --quiet` or `--limit n` or `input`."""
    if argument["kind"] == "positional":
        return italic(argument["valueName"]) + (" ..." if argument["isRepeating"] else "")
    names = sorted((name(each) for each in argument["names"]), key=len)
    text = ", ".join(bold(each) for each in names)
    return text + (" " + italic(argument["valueName"]) if argument["kind"] == "option" else "")


def shown(command: dict) -> list[dict]:
    return [each for each in command.get("arguments", []) if each.get("shouldDisplay", True)]


def synopsis(title: str, command: dict, has_commands: bool) -> str:
    if has_commands:
        return f"{bold(title)} {italic('command')} [{italic('options')}]"
    words = [bold(title)]
    for argument in shown(command):
        if argument["kind"] == "positional":
            text = spellings(argument)
        elif not argument["isOptional"]:
            text = f"{bold(name(argument['preferredName']))} {italic(argument['valueName'])}"
        else:
            continue
        words.append(f"[{text}]" if argument["isOptional"] else text)
    return " ".join(words + [f"[{italic('options')}]"])


def entry(argument: dict) -> str:
    text = argument.get("abstract", "")
    default = argument.get("defaultValue")
    # The number of threads is the number of processors of the machine that made the page.
    if default is not None and argument["valueName"] != "n" and argument["kind"] != "flag":
        text += f" (default: {default})"
    return f".TP\n{spellings(argument)}\n{escape(text)}\n"


def discussion(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The paragraphs before the first heading, and the parts with theirs."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in text.split("\n"):
        if HEADING.match(line):
            parts.append((line, []))
        else:
            parts[-1][1].append(line)
    return paragraphs(parts[0][1]), [(title, literal(lines)) for title, lines in parts[1:]]


def paragraphs(lines: list[str]) -> str:
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return ".PP\n".join(f"{escape(block)}\n" for block in blocks if block)


def literal(lines: list[str]) -> str:
    """Lines as they are, which examples and tables need."""
    text = "\n".join(line[2:] if line.startswith("  ") else line for line in lines).strip("\n")
    return f".nf\n{escape(text)}\n.fi\n"


def article(path: pathlib.Path) -> str:
    """The sections of a page in Markdown: headings, paragraphs and lists, with code in backquotes."""
    text = ""
    for block in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, body = block.partition("\n")
        text += f".SH {heading.upper()}\n"
        for paragraph in re.split(r"\n\s*\n", body.strip()):
            if paragraph.startswith("- "):
                items = re.split(r"(?m)^- ", paragraph)[1:]
                text += "".join(f".IP \\(bu 2\n{marked(item)}\n" for item in items)
            else:
                text += f".PP\n{marked(paragraph)}\n"
    return text


def marked(text: str) -> str:
    """Text with what stands in backquotes in bold."""
    parts = " ".join(text.split()).split("`")
    return "".join(bold(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def date() -> str:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date().isoformat()


def page(title: str, command: dict, others: list[str], version: str, explanation: str = "") -> str:
    children = [each for each in command.get("subcommands", []) if each["commandName"] != "help"]
    dashed = title.replace(" ", "-")
    text = f'.TH {dashed.upper()} {SECTION} {date()} "{version}" "User Commands"\n'
    text += f".SH NAME\n{escape(dashed)} \\- {escape(command['abstract'].rstrip('.'))}\n"
    text += f".SH SYNOPSIS\n{synopsis(title, command, bool(children))}\n"
    before, parts = discussion(command.get("discussion", ""))
    if before:
        text += f".SH DESCRIPTION\n{before}"
    text += explanation
    if children:
        text += ".SH COMMANDS\n"
        for child in children:
            text += f".TP\n.BR {escape(dashed)}\\-{escape(child['commandName'])} ({SECTION})\n"
            text += f"{escape(child['abstract'])}\n"
    positional = [each for each in shown(command) if each["kind"] == "positional"]
    options = [each for each in shown(command) if each["kind"] != "positional"]
    if positional:
        text += ".SH ARGUMENTS\n" + "".join(map(entry, positional))
    if options:
        text += ".SH OPTIONS\n"
        # Options of a titled group stand below its title, after those of no group.
        groups = dict.fromkeys(each.get("sectionTitle", "") for each in options)
        for group in sorted(groups, key=bool):
            text += f".SS {group}\n" if group else ""
            text += "".join(entry(each) for each in options if each.get("sectionTitle", "") == group)
    for heading, body in parts:
        if heading != "MANUAL":
            text += f".SH {heading}\n{body}"
    if others:
        references = ",\n".join(f".BR {escape(each)} ({SECTION})" for each in others)
        text += f".SH SEE ALSO\n{references}\n"
    return text


def main() -> None:
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    dump = subprocess.run([program, "--experimental-dump-help"], check=True, capture_output=True)
    root = json.loads(dump.stdout)["command"]
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    version = version.stdout.splitlines()[0]
    tool = root["commandName"]
    commands = [each for each in root["subcommands"] if each["commandName"] != "help"]
    pages = [f"{tool}-{each['commandName']}" for each in commands]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{tool}.{SECTION}").write_text(page(tool, root, [], version), encoding="utf-8")
    for command, title in zip(commands, pages):
        others = [tool] + [each for each in pages if each != title]
        explanation = article(ARTICLES / f"{command['commandName']}.md")
        text = page(f"{tool} {command['commandName']}", command, others, version, explanation)
        (folder / f"{title}.{SECTION}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
