"""Case directories, as tests make them."""

import json
import os

import numpy as np


def describe(arrays):
    """What case.json says about named arrays."""
    return {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in arrays.items()}


def write_case(folder, op, attributes, inputs, outputs, **more):
    """Write a case directory; outputs may be arrays, or shapes of float32 without a file."""
    os.makedirs(folder, exist_ok=True)
    wanted = {name: a if hasattr(a, "dtype") else np.zeros(a, "f4") for name, a in outputs.items()}
    record = {"name": os.path.basename(folder), "op": op, "attributes": attributes,
              "inputs": describe(inputs), "outputs": describe(wanted), **more}
    for prefix, arrays in (("in", inputs), ("out", wanted)):
        for name, array in arrays.items():
            np.save(os.path.join(folder, f"{prefix}_{name}.npy"), np.ascontiguousarray(array))
    with open(os.path.join(folder, "case.json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
