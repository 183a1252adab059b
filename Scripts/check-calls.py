#!/usr/bin/env python3
"""Check a program for calls that a fault of the compiler lets return an error that nobody threw.

Usage: check-calls.py PROGRAM

Swift returns errors in register r12. Up to Swift 6.3 a function that may throw can end in a jump to
memcpy, memmove or memset without restoring that register (swiftlang/swift#90477), and its caller takes
what is left there for an error. This reads the disassembly of x86-64 for such jumps after a change of
r12; `UnsafeMutableRawBufferPointer.copy` in Storage avoids them. Exits with 1 where there is one.
Needs binutils.
"""

import re
import subprocess
import sys

START = re.compile(r"push\s+%rbp$")
SAVED = re.compile(r"push\s+%r12$")
RESTORED = re.compile(r"mov\s+(-0x[0-9a-f]+\(%rbp\)|0x[0-9a-f]+\(%rsp\)),%r12$")
CHANGED = re.compile(r"(?!cmp|test|push)\w+\s.*%r12d?$")
JUMP = re.compile(r"jmp\s.*<(mem\w+)@plt>")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    command = ["objdump", "--disassemble", "--no-show-raw-insn", sys.argv[1]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as objdump:
        name, changed, saved, jumps, found = "", False, False, 0, []
        for line in objdump.stdout:
            if line.endswith(">:\n"):
                name, changed, saved = line[line.index("<") + 1 : -3], False, False
            _, _, instruction = line.rstrip().partition("\t")
            if START.match(instruction):
                changed, saved = False, False
            elif SAVED.match(instruction):
                saved = True  # and restored before every end: such a function returns no error
            elif RESTORED.match(instruction):
                changed = False
            elif CHANGED.match(instruction):
                changed = True
            elif jump := JUMP.match(instruction):
                jumps += 1
                if changed and not saved:
                    found.append(f"{name} jumps to {jump[1]}")
    if objdump.returncode != 0 or jumps == 0:
        sys.exit(f"{sys.argv[1]}: not a program whose calls can be checked")
    if found:
        sys.exit("\n".join(f"error: {line} with another value in the error's register" for line in found))
    print(f"{sys.argv[1]}: {jumps} jumps to memcpy and its kind, all with the error's register restored")


if __name__ == "__main__":
    main()
