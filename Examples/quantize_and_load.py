"""Quantizes the example with condi-convert, and takes its weights to NumPy.

    pip install ./python
    python Examples/quantize_and_load.py Examples/swinir_light_x2.pth model.condi
"""

import sys

import condi

source, packed = sys.argv[1:]
made = condi.convert(source, packed, bits=2, force=True)
weights = condi.load(packed, "*.qkv.weight")
score = condi.evaluate(packed, "Examples/images/evaluation", against=source).scores[-1]
print(f"{made.ratios['file']:.1f} times smaller, {score.gain:+.2f} dB, {len(weights)} weights loaded")
