"""Reads packed low-bit model files (`.condi`), version 1, with NumPy alone; calls condi-convert where it is.

weights = condi.load("model.condi", "*.weight")                 # NumPy arrays by name
made = condi.convert("model.pth", "model.condi", bits=2)        # calls the program

`condi.torch` puts packed weights into modules, `condi.recorder` records activations; both need PyTorch.
"""

from .errors import PackedError, ProgramError, ProgramNotFound
from .packed_file import PackedFile, load, open
from .program import (
    Conversion,
    Evaluation,
    Result,
    Score,
    convert,
    evaluate,
    find_program,
    program_version,
    report,
    run,
)
from .progress import Progress, ProgressLine

#: That of the program (`Sources/Formats/Tensor/Producer.swift`), which tests compare.
__version__ = "0.1.0"

__all__ = [
    "Conversion", "Evaluation", "PackedError", "PackedFile", "ProgramError", "ProgramNotFound", "Progress",
    "ProgressLine", "Result", "Score", "convert", "evaluate", "find_program", "load", "open",
    "program_version", "report", "run",
]  # fmt: skip
