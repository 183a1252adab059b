"""Makes the archives in calibration/ with PyTorch and the project's recorder.

    python Tests/Fixtures/generate_calibration.py

Needs PyTorch. A small network of two linear layers and a softmax runs on seeded rows, twice: the
second run records quantized inputs at 2 bits. Their bounds are the same for all rows in
`two_layers.calib.npz`, shares of each row's largest magnitude in `two_layers_rows.calib.npz`, and those
of inputs lie in the range of each 4 values in `two_layers_groups.calib.npz`.
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
ARCHIVES = {
    "tensor": "two_layers.calib.npz",
    "row": "two_layers_rows.calib.npz",
    "group:4": "two_layers_groups.calib.npz",
}
sys.path.insert(0, str(ROOT / "python"))
from condi.recorder import Recorder  # noqa: E402


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(6, 4)
        self.second = torch.nn.Linear(4, 3)
        self.recorder: Recorder | None = None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = torch.nn.functional.gelu(self.first(rows))
        weights = self.second(hidden).softmax(-1)
        if self.recorder:
            self.recorder.observe("second.probabilities", weights)
        return weights


def record(model: Network, scaling: str, quantizers=None) -> Recorder:
    generator = torch.Generator().manual_seed(5)
    with Recorder(model, quantizers=quantizers, scaling=scaling) as recorder, torch.no_grad():
        model.recorder = recorder
        for _ in range(4):
            rows = torch.randn(2, 25, 6, generator=generator)
            model(rows * torch.arange(1, 7) + torch.arange(6) % 3)
    return recorder


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = Network()
    for scaling, name in ARCHIVES.items():
        first = record(model, scaling)
        second = record(model, scaling, quantizers={2: first.bounds(2)})
        second.save(ROOT / "Tests/Fixtures/calibration" / name)


if __name__ == "__main__":
    main()
