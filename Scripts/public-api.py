#!/usr/bin/env python3
"""List the public API of the libraries, or check that all of it is documented.

Usage: public-api.py [--check] [MODULE ...]

Reads the sources below Sources/MODULE, of all library products where none is named, and prints every
declaration that another package can use, as Markdown: one section a module, one heading a type, the
first sentence of each documentation comment beside its declaration. With --check it prints instead
what has no documentation comment, or one without a sentence before its lists, one FILE:LINE a line,
and which types are in no topic of the module's catalog, and exits with 1 if there is any of them.

No sentence is asked of
- what a protocol of the standard library or of Foundation wants and documents: WITNESSES;
- the cases of an enumeration with raw values of type String: the enumeration says what they are, and
  reports and options spell them so;
- initializers that take nothing, or that only set properties of the same names, which say it;
- members that meet a requirement of one of this package's own protocols, which say it once.

It reads lines, not syntax trees: sources are formatted by `swift format`, so that a declaration begins
on a line of its own. Needs nothing but Python's standard library.
"""

import argparse
import dataclasses
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODULES = [
    "Storage", "LinearAlgebra", "Reports", "Imaging", "Formats", "Inspect", "Transform",
    "SuperResolution",
]

WITNESSES = {
    "description", "debugDescription", "errorDescription", "==", "<", "hash", "init(from:)",
    "encode(to:)", "CodingKeys", "allCases", "makeIterator", "next", "rawValue", "init(rawValue:)",
}
LEVELS = ["private", "fileprivate", "internal", "package", "public", "open"]
TYPES = ["struct", "enum", "class", "actor", "protocol", "extension"]
ATTRIBUTES = r"(?:@\w+(?:\([^)]*\))?\s+)*"
MODIFIERS = (
    r"(?:(?:" + "|".join(LEVELS) + r"|static|final|mutating|nonmutating|consuming|borrowing|override"
    r"|required|convenience|lazy|weak|unowned|indirect|nonisolated|prefix|postfix|infix"
    r"|(?:private|fileprivate|internal|package)\(set\)|nonisolated\(\w+\))\s+)*"
)
DECLARATION = re.compile(
    rf"\s*(?P<attributes>{ATTRIBUTES})(?P<modifiers>{MODIFIERS})"
    r"(?P<keyword>struct|enum|class|actor|protocol|extension|func|init|subscript|var|let|case|typealias"
    r"|associatedtype)\b\??\s*(?P<name>`?[\w.]+`?|[^\s\w(:{]+)?"
)


@dataclasses.dataclass
class Declaration:
    """A declaration at file level or in a type, however accessible."""

    path: pathlib.Path
    line: int
    keyword: str
    name: str
    access: str
    signature: str
    comment: str
    owner: "Declaration | None"

    @property
    def qualified(self) -> str:
        return f"{self.owner.qualified}.{self.name}" if self.owner else self.name


def without_text(source: str) -> str:
    """The source with comments and string literals blanked, line by line as long as before."""
    out, index, end = [], 0, len(source)

    def blank(upto: int) -> None:
        nonlocal index
        out.append(re.sub(r"[^\n]", " ", source[index:upto]))
        index = upto

    while index < end:
        if source.startswith("//", index):
            found = source.find("\n", index)
            blank(end if found < 0 else found)
        elif source.startswith("/*", index):
            blank(source.index("*/", index) + 2)
        elif match := re.compile(r'(#*)("""|")').match(source, index):
            blank(end_of_string(source, match))
        else:
            out.append(source[index])
            index += 1
    return "".join(out)


def end_of_string(source: str, opening: re.Match) -> int:
    """Where the literal that begins there is over, its interpolations and their literals included."""
    hashes, quotes = opening.groups()
    index = opening.end()
    while not source.startswith(quotes + hashes, index):
        if source.startswith("\\" + hashes + "(", index):
            index = end_of_interpolation(source, index + 2 + len(hashes))
        else:
            index += 2 if source[index] == "\\" and not hashes else 1
    return index + len(quotes) + len(hashes)


def end_of_interpolation(source: str, index: int) -> int:
    depth = 1
    while depth:
        if match := re.compile(r'(#*)("""|")').match(source, index):
            index = end_of_string(source, match)
            continue
        depth += {"(": 1, ")": -1}.get(source[index], 0)
        index += 1
    return index


def declarations(path: pathlib.Path) -> list[Declaration]:
    """All declarations of a file that are not within a body."""
    source = path.read_text()
    lines, code = source.split("\n"), without_text(source).split("\n")
    found: list[Declaration] = []
    # For each open brace: the type whose body it opens, or None where it opens anything else.
    scopes: list[Declaration | None] = []
    pending: Declaration | None = None
    parentheses = 0
    for number, line in enumerate(code):
        in_members = all(scopes) and parentheses == 0
        owner = scopes[-1] if scopes else None
        if in_members and (match := DECLARATION.match(line)):
            made = make(path, lines, code, number, match, owner)
            found += made
            pending = made[0] if made[0].keyword in TYPES else None
        for character in line:
            if character == "{":
                scopes.append(pending)
                pending = None
            elif character == "}":
                scopes.pop()
            elif character in "([":
                parentheses += 1
            elif character in ")]":
                parentheses -= 1
    return found


def make(path, lines, code, number, match, owner) -> list[Declaration]:
    keyword = match["keyword"]
    signature = signature_from(lines, code, number)
    level = next((each for each in match["modifiers"].split() if each in LEVELS), None)
    if keyword == "extension":
        # As accessible as what it extends; the members that are public say so themselves.
        level = level or "public"
    elif keyword == "case" or (owner and owner.keyword == "protocol"):
        level = owner.access if owner else "internal"
    elif level is None:
        level = "internal"
    comment = comment_above(lines, number)
    return [
        Declaration(path, number + 1, keyword, name, level, signature, comment, owner)
        for name in declared_names(keyword, (match["name"] or "").strip("`"), signature)
    ]


def declared_names(keyword: str, name: str, signature: str) -> list[str]:
    """One name, with the labels of what has no other; of a `case` all of them."""
    if keyword == "case":
        cases = outside_parentheses(signature[signature.index("case") + len("case"):])
        return re.findall(r"(?:^|,)\s*`?(\w+)", cases)
    if keyword in ("init", "subscript") or name == "encode":
        labels = re.findall(r"(?:^|,)\s*(?:@\w+\s+)*(\w+)(?:\s+\w+)?\s*:", parameters(signature))
        called = name if keyword == "func" else keyword
        return [f"{called}({''.join(label + ':' for label in labels)})"]
    return [name]


def outside_parentheses(text: str) -> str:
    while "(" in (shorter := re.sub(r"\([^()]*\)", "", text)) and shorter != text:
        text = shorter
    return shorter


def parameters(signature: str) -> str:
    """What stands in the first parentheses, without what is nested there."""
    start, depth, out = signature.find("("), 0, []
    for character in signature[start:] if start >= 0 else "":
        depth -= character in ")]"
        if depth == 0 and out:
            break
        if depth <= 1 and character not in "()":
            out.append(character)
        depth += character in "(["
    return "".join(out)


def signature_from(lines: list[str], code: list[str], number: int) -> str:
    """The declaration up to its body or its value, on one line."""
    text, depth = [], 0
    for line in range(number, len(code)):
        for column, character in enumerate(code[line]):
            if depth == 0 and (character == "{" or code[line].startswith(" = ", column)):
                return re.sub(r"\s+", " ", "".join(text)).strip()
            depth += (character in "([") - (character in ")]")
            text.append(lines[line][column])
        text.append(" ")
        following = code[line + 1].strip() if line + 1 < len(code) else ""
        if depth == 0 and not following.startswith(("->", "where ", "throws", "{")):
            break
    return re.sub(r"\s+", " ", "".join(text)).strip().replace("( ", "(")


def comment_above(lines: list[str], number: int) -> str:
    text = []
    number -= 1
    while number >= 0 and re.match(r"\s*@\w+(\(.*\))?$", lines[number]):
        number -= 1
    while number >= 0 and lines[number].lstrip().startswith("///"):
        text.insert(0, lines[number].strip()[3:].strip())
        number -= 1
    return "\n".join(text)


def public(all_of_them: list[Declaration]) -> list[Declaration]:
    """Those that another package can use: public, in types that are."""
    types = {
        each.qualified: each.access for each in all_of_them
        if each.keyword in TYPES and each.keyword != "extension"
    }

    def is_visible(each: Declaration | None) -> bool:
        if each is None:
            return True
        access = each.access
        if each.keyword == "extension":
            # Extensions of other modules' types are visible.
            access = types.get(each.qualified, "public")
        return access in ("public", "open") and is_visible(each.owner)

    return [each for each in all_of_them if is_visible(each) and each.keyword != "extension"]


@dataclasses.dataclass
class Package:
    """What the rules for documentation need to know of all modules together."""

    # Names of documented requirements, by protocol.
    requirements: dict[str, set[str]]
    # What types conform to and protocols inherit from, as far as it is written.
    inherited: dict[str, set[str]]
    # Qualified names of stored and computed properties.
    properties: set[str]

    def __init__(self, everything: list[Declaration]):
        self.requirements, self.inherited, self.properties = {}, {}, set()
        for each in everything:
            if each.owner and each.owner.keyword == "protocol" and each.comment:
                self.requirements.setdefault(each.owner.name, set()).add(each.name)
            if each.keyword in TYPES and ":" in each.signature:
                clause = each.signature.split(":", 1)[1].split(" where ")[0]
                names = re.findall(r"[A-Z]\w*", clause)
                self.inherited.setdefault(each.qualified, set()).update(names)
            if each.keyword in ("let", "var"):
                self.properties.add(each.qualified)

    def required_of(self, type_name: str) -> set[str]:
        """What the protocols want that a type conforms to, or that a protocol is or refines."""
        wanted = set(self.requirements.get(type_name, ()))
        for each in self.inherited.get(type_name, ()):
            wanted |= self.required_of(each) if each != type_name else set()
        return wanted

    def asks_for_sentence(self, each: Declaration) -> bool:
        if each.name in WITNESSES or not each.owner:
            return each.name not in WITNESSES
        if each.owner.name == "CodingKeys":
            return False
        if each.keyword == "case":
            return re.search(r": String\b", each.owner.signature) is None
        if each.keyword == "init":
            names = parameter_names(each)
            return any(f"{each.owner.qualified}.{name}" not in self.properties for name in names)
        if each.owner.keyword == "protocol":
            return True
        return each.name not in self.required_of(each.owner.qualified)


def parameter_names(each: Declaration) -> list[str]:
    """The names that a body knows the parameters by, unless they have labels of their own."""
    text = parameters(each.signature)
    return re.findall(r"(?:^|,)\s*(?:_\s+)?(\w+(?:\s+\w+)?)\s*:", text)


def read(module: str) -> list[Declaration]:
    return [
        each for path in sorted((ROOT / "Sources" / module).rglob("*.swift"))
        if not path.name.endswith(".pb.swift") for each in declarations(path)
    ]


def sentence(each: Declaration) -> str:
    """The first sentence of the comment; empty where it has only lists of parameters and errors."""
    paragraph = each.comment.split("\n\n")[0].replace("\n", " ")
    return "" if paragraph.startswith("- ") else re.split(r"(?<=[.])\s", paragraph)[0]


def place(each: Declaration) -> str:
    return f"{each.path.relative_to(ROOT)}:{each.line}"


def print_module(module: str, found: list[Declaration]) -> None:
    print(f"# {module}\n")
    for owner in dict.fromkeys(each.owner.qualified if each.owner else "" for each in found):
        print(f"## {owner or 'At file level'}\n")
        for each in found:
            if (each.owner.qualified if each.owner else "") == owner:
                said = sentence(each)
                print(f"- `{each.signature}`" + (f": {said}" if said else ""))
        print()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--check", action="store_true", help="say what is not documented")
    options.add_argument("modules", nargs="*", default=MODULES, metavar="MODULE")
    chosen = options.parse_args()
    sources = {module: read(module) for module in {*MODULES, *chosen.modules}}
    package = Package([each for every in sources.values() for each in every])
    missing = 0
    for module in chosen.modules:
        found = public(sources[module])
        if not chosen.check:
            print_module(module, found)
            continue
        for each in found:
            if package.asks_for_sentence(each) and not sentence(each):
                missing += 1
                print(f"{place(each)}: {each.qualified} is not documented")
        catalog = ROOT / "Sources" / module / f"{module}.docc" / f"{module}.md"
        topics = catalog.read_text().partition("## Topics")[2] if catalog.exists() else ""
        for each in found:
            if not each.owner and f"``{each.name}``" not in topics:
                missing += 1
                print(f"{place(each)}: {each.name} is in no topic of {catalog.relative_to(ROOT)}")
    if missing:
        print(f"{missing} public declarations are not documented", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
