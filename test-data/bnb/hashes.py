"""SHA-256 of everything bitsandbytes makes of a 3072 x 64 weight on the CPU: hashes.json.

    python test-data/bnb/hashes.py
"""

import hashlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from bitsandbytes.functional import (
    dequantize_4bit,
    int8_vectorwise_dequant,
    int8_vectorwise_quant,
    quantize_4bit,
)

from common.golden import deterministic, write_json

HERE = pathlib.Path(__file__).resolve().parent


def weight(count):
    state, values = 12345, np.empty(count, dtype=np.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = ((state >> 8) / 16777216.0 - 0.5) * 0.125
    return torch.from_numpy(values)


def sha(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def main():
    deterministic(0)
    w = weight(3072 * 64).reshape(3072, 64)
    content = {"weight": "3072 x 64; s = s * 1664525 + 1013904223 mod 2^32 from 12345, w = ((s >> 8) / 2^24 - 0.5) / 8"}
    for quant_type in ("nf4", "fp4"):
        packed, state = quantize_4bit(w, blocksize=64, quant_type=quant_type)
        nested_packed, nested = quantize_4bit(w, blocksize=64, quant_type=quant_type, compress_statistics=True)
        assert torch.equal(packed, nested_packed)
        content[quant_type] = {
            "packed": sha(packed),
            "absmax": sha(state.absmax),
            "dequant": sha(dequantize_4bit(packed, state)),
            "nested": {
                "offset": float(nested.offset),
                "absmax_u8": sha(nested.absmax),
                "nested_absmax": sha(nested.state2.absmax),
                "dequant": sha(dequantize_4bit(nested_packed, nested)),
            },
        }
    cb, scb, _ = int8_vectorwise_quant(w.half())
    content["int8"] = {"CB": sha(cb), "SCB": sha(scb), "dequant": sha(int8_vectorwise_dequant(cb, scb))}
    write_json(HERE / "hashes.json", content, "test-data/bnb/hashes.py", ["bitsandbytes"])


if __name__ == "__main__":
    main()
