"""Runs the program: alone, and on ranks of mpirun."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    code: int
    output: str
    errors: str

    @property
    def own_errors(self) -> list[str]:
        """What the program said on standard error; the rest is mpirun's."""
        return [line for line in self.errors.splitlines() if line.startswith("condi-convert: ")]


class Programs:
    def __init__(self, plain: Path, shared: Path) -> None:
        self.plain = str(plain.resolve())
        self.shared = str(shared.resolve())

    @staticmethod
    def environment() -> dict[str, str]:
        # In a container the tests run as root, on fewer processors than ranks.
        allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return os.environ | allowed

    def program(self, arguments, before: str = "") -> list[str]:
        """`before` is what each rank's shell does first; `$rank` is its number."""
        program = [self.shared, *map(str, arguments)]
        if not before:
            return program
        return ["sh", "-c", f'rank=$OMPI_COMM_WORLD_RANK; {before}; exec "$@"', "sh", *program]

    def command(self, count: int, arguments, before: str = "") -> list[str]:
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(count),
                *self.program(arguments, before)]

    def alone(self, *arguments) -> Outcome:
        return self.run([self.plain, *map(str, arguments)])

    def ranks(self, count: int, *arguments, before: str = "", given: bytes = b"") -> Outcome:
        return self.run(self.command(count, arguments, before), given)

    def run(self, command: list[str], given: bytes = b"", **variables: str) -> Outcome:
        done = subprocess.run(
            command, input=given, capture_output=True, env=self.environment() | variables,
            timeout=300)
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, count: int, *arguments, before: str = "") -> subprocess.Popen:
        return subprocess.Popen(
            self.command(count, arguments, before), env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
