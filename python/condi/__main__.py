"""The commands of `python -m condi`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import zlib
from typing import NoReturn

from . import (
    PackedError,
    PackedFile,
    ProgramError,
    ProgramNotFound,
    ProgressLine,
    __version__,
    find_program,
    program_version,
)
from . import open as open_packed
from .progress import stepwise

DESCRIPTION = "Reads packed low-bit model files (.condi) with NumPy alone."
HELP = """\
examples:
  python -m condi list model.condi
  python -m condi verify model.condi && echo whole
  python -m condi dump model.condi > tensors.json

Nothing that is in a file is executed. Reports go to standard output, messages and a progress
line, on a terminal, to standard error. In Python:

  weights = condi.load("model.condi", "*.weight")             NumPy arrays by name
  made = condi.convert("model.pth", "model.condi", bits=2)    calls the program condi-convert
  condi.torch.load_into(module, "model.condi")                a PyTorch module's weights

exit codes:
  0 success, 1 the file is damaged, 2 it cannot be opened, 64 wrong usage, 141 nobody read
  the report to its end

environment:
  CONDI_CONVERT  the program that Python functions call, in place of the one on PATH
"""


class Parser(argparse.ArgumentParser):
    """Wrong usage has an exit code of its own, as in condi-convert."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def list_tensors(file: PackedFile) -> None:
    rows = [("name", "type", "shape", "encoding", "bits", "bytes")]
    for name in file.names:
        record = file.record(name)
        encoding = record.encoding
        if record.encoded_byte_count is not None:
            encoding += "+zlib"
        if name != record.name:
            encoding = f"shares with {record.name}"
        shape = "×".join(map(str, record.shape)) or "scalar"
        bits = record.type.bit_width if record.encoding == "raw" else record.bits
        rows.append(
            (name, record.type.name, shape, encoding, str(bits), str(record.byte_count))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def verify(file: PackedFile, path: str) -> None:
    with ProgressLine("verifying") as progress:
        file.verify(progress)
    print(f"{path}: {len(file.names)} tensors, whole", file=sys.stderr)


def dump(file: PackedFile) -> None:
    """One object: each tensor's type, shape, and CRC-32 of its logical bytes."""
    with ProgressLine("reading") as progress:
        content = {
            name: {
                "elementType": file.element_type(name),
                "shape": list(file.shape(name)),
                "crc32": zlib.crc32(file.logical_bytes(name)),
            }
            for name in stepwise(file.names, file.stored_byte_count, progress)
        }
    json.dump(content, sys.stdout, ensure_ascii=False, indent=1)
    print()


def versions() -> str:
    """This package's version, and that of the program that it calls."""
    try:
        program = f"condi-convert {program_version()} ({find_program()})"
    except ProgramNotFound:
        program = "condi-convert is not installed"
    except (OSError, ProgramError) as error:
        program = f"condi-convert does not run: {error}"
    return f"condi {__version__}\n{program}"


def parser() -> Parser:
    top = Parser(
        prog="python -m condi",
        description=DESCRIPTION,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="show the versions of package and program")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, what in (
        ("list", "show names, types, shapes, encodings, bits and bytes of all tensors"),
        ("verify", "check every byte of the file"),
        ("dump", "print type, shape and CRC-32 of every tensor as JSON"),
    ):
        command = commands.add_parser(name, help=what, description=what.capitalize() + ".")
        command.add_argument("file", metavar="FILE", help="a packed file")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, 1: the file is not whole, 2: it cannot be opened; 141: the reader left."""
    options = parser().parse_args(arguments)
    if options.version:
        print(versions())
        return 0
    if options.command is None:
        parser().print_help()
        return 0
    try:
        with open_packed(options.file) as file:
            match options.command:
                case "list":
                    list_tensors(file)
                case "dump":
                    dump(file)
                case "verify":
                    verify(file, options.file)
            sys.stdout.flush()
    except PackedError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the list has what it wanted; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"{options.file}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
