"""python -m condi {list,verify,dump} FILE"""

from __future__ import annotations

import argparse
import json
import os
import sys
import zlib

from . import PackedError, PackedFile
from . import open as open_packed


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


def dump(file: PackedFile) -> None:
    """One object: each tensor's type, shape, and CRC-32 of its logical bytes."""
    content = {
        name: {
            "elementType": file.element_type(name),
            "shape": list(file.shape(name)),
            "crc32": zlib.crc32(file.logical_bytes(name)),
        }
        for name in file.names
    }
    json.dump(content, sys.stdout, ensure_ascii=False, indent=1)
    print()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: done, 1: the file is not whole, 2: it cannot be opened; 141: the reader left."""
    parser = argparse.ArgumentParser(prog="python -m condi", description="Reads packed models.")
    parser.add_argument("command", choices=("list", "verify", "dump"))
    parser.add_argument("file", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        with open_packed(options.file) as file:
            match options.command:
                case "list":
                    list_tensors(file)
                case "dump":
                    dump(file)
                case "verify":
                    file.verify()
                    print(f"{options.file}: {len(file.names)} tensors, whole", file=sys.stderr)
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
