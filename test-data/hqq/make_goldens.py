"""Answers of the real hqq on the CPU: packed codes, scales, zero points and dequantized values as SHA-256 of their bytes.

Inputs come from a formula that the tests repeat exactly (`inputs`), so that the golden file stays small.

    python test-data/hqq/make_goldens.py
"""

import hashlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))

import golden
import numpy as np
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer

HERE = pathlib.Path(__file__).resolve().parent
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def inputs(rows, columns, seed, sigma, special):
    """Bell-shaped values: the four 16-bit parts of splitmix64(seed << 32 | index), added up and scaled; then `special`."""
    with np.errstate(over="ignore"):
        x = (np.uint64(seed) << np.uint64(32)) + np.arange(rows * columns, dtype=np.uint64)
        x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    parts = sum(((x >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) for k in range(4))
    w = ((parts - 131070) * (sigma / 37837.0)).astype(np.float32).reshape(rows, columns)
    if special == "constant":
        w[0::4] = np.float32(0.125)
        w[1::4] = np.float32(-3.0)
    elif special == "zeros":
        w[0::3] = np.float32(0)
    elif special == "outliers":
        w.reshape(-1)[::97] *= np.float32(50)
    elif special == "negative":
        w = -np.abs(w) - np.float32(0.01)
    elif special == "positive":
        w = np.abs(w) + np.float32(0.01)
    elif special == "signed-zeros":
        w.reshape(-1)[0::2] = np.float32(0)
        w.reshape(-1)[1::4] = np.float32(-0.0)
    return torch.from_numpy(np.ascontiguousarray(w))


def case(name, rows, columns, nbits, group, axis, **options):
    defaults = dict(dtype="F32", compute="F32", sigma=0.02, special="none", optimize=True, round_zero=nbits == 4,
                    scale_meta="plain", zero_meta="plain")
    defaults.update(options)
    return dict(name=name, rows=rows, columns=columns, bits=str(nbits), nbits=nbits, group=group, axis=axis, **defaults)


def cases():
    yield case("4bit-g64", 64, 256, 4, 64, 1)
    yield case("4bit-g32", 48, 96, 4, 32, 1)
    yield case("4bit-g128", 32, 512, 4, 128, 1)
    yield case("8bit-g64", 64, 256, 8, 64, 1)
    yield case("8bit-g32", 48, 96, 8, 32, 1)
    yield case("8bit-g128", 32, 512, 8, 128, 1)
    for nbits in (8, 6, 5, 4, 3, 2, 1.58, 1):
        yield case(f"{nbits}bit-axis1", 40, 192, nbits, 64, 1)
        yield case(f"{nbits}bit-axis0", 64, 120, nbits, 64, 0)
        yield case(f"{nbits}bit-axis1-channel", 16, 136, nbits, 0, 1)
        yield case(f"{nbits}bit-axis0-channel", 24, 77, nbits, 0, 0)
        yield case(f"{nbits}bit-plain", 40, 64, nbits, 8, 1, optimize=False, round_zero=False)
        yield case(f"{nbits}bit-unit-variance", 32, 96, nbits, 32, 1, sigma=1.0)
        yield case(f"{nbits}bit-unit-variance-axis0", 32, 72, nbits, 16, 0, sigma=1.0)
        yield case(f"{nbits}bit-outliers", 32, 128, nbits, 64, 1, special="outliers")
        yield case(f"{nbits}bit-negative", 32, 128, nbits, 16, 1, special="negative")
        yield case(f"{nbits}bit-g8-axis0", 16, 96, nbits, 8, 0, special="positive")
    for dtype in ("F32", "F16", "BF16"):
        for compute in ("F32", "F16", "BF16"):
            yield case(f"4bit-{dtype}-in-{compute}", 32, 128, 4, 64, 1, dtype=dtype, compute=compute)
            yield case(f"2bit-{dtype}-in-{compute}-axis0", 32, 80, 2, 16, 0, dtype=dtype, compute=compute)
            yield case(f"3bit-{dtype}-in-{compute}", 33, 64, 3, 64, 1, dtype=dtype, compute=compute)
            yield case(f"8bit-{dtype}-in-{compute}", 16, 120, 8, 40, 1, dtype=dtype, compute=compute)
    for special in ("constant", "zeros", "signed-zeros", "positive"):
        for nbits in (4, 2):
            for axis in (0, 1):
                yield case(f"{nbits}bit-{special}-axis{axis}", 32, 64, nbits, 32, axis, special=special)
    yield case("4bit-tiny-range", 16, 64, 4, 64, 1, sigma=1.0e-5)
    yield case("4bit-edge-range", 64, 64, 4, 16, 1, sigma=3.2e-5)
    yield case("4bit-subnormal", 16, 64, 4, 64, 1, sigma=1.0e-40)
    yield case("2bit-wide", 16, 64, 2, 32, 1, sigma=1.0e4)
    yield case("4bit-straddling", 16, 8, 4, 64, 1)
    yield case("3bit-straddling", 16, 8, 3, 64, 1)
    yield case("2bit-straddling-odd", 24, 20, 2, 40, 1)
    yield case("4bit-odd-columns", 64, 37, 4, 16, 0)
    yield case("8bit-prime", 31, 37, 8, 37, 1)
    yield case("8bit-single-group", 8, 24, 8, 192, 1)
    yield case("4bit-single-column", 64, 1, 4, 64, 0)
    yield case("4bit-long-group", 2, 5000, 4, 0, 1)
    yield case("4bit-long-column", 1280, 3, 4, 0, 0)
    yield case("4bit-1024", 1024, 1024, 4, 64, 1)
    yield case("4bit-uneven-blocks", 320, 1056, 4, 96, 1)
    yield case("3bit-1024-axis0", 512, 1030, 3, 64, 0)
    yield case("2bit-large-unit-variance", 256, 510, 2, 16, 1, sigma=1.0)
    for compute in ("F32", "F16", "BF16"):
        yield case(f"3bit-both-meta-{compute}", 64, 256, 3, 64, 1, compute=compute, scale_meta="128", zero_meta="128")
        yield case(f"4bit-hqq-meta-{compute}", 128, 128, 4, 64, 1, compute=compute, scale_meta="128", zero_meta="tensor")
    yield case("2bit-zero-meta-axis0", 64, 64, 2, 16, 0, zero_meta="tensor")
    yield case("2bit-scale-meta-axis0", 64, 64, 2, 16, 0, scale_meta="128")
    yield case("8bit-both-meta-small", 16, 16, 8, 128, 1, scale_meta="2", zero_meta="2")


def meta_params(kind):
    if kind == "plain":
        return None
    if kind == "tensor":
        return {"nbits": 8, "channel_wise": False, "group_size": None, "optimize": False}
    return {"nbits": 8, "channel_wise": True, "group_size": int(kind), "optimize": False}


def sha256(tensor):
    tensor = tensor.detach().contiguous()
    return hashlib.sha256(tensor.view(torch.uint8).numpy().tobytes() if tensor.dim() else tensor.numpy().tobytes()).hexdigest()


def answer(c):
    weight = inputs(c["rows"], c["columns"], 7, c["sigma"], c["special"]).to(DTYPES[c["dtype"]])
    group = c["group"] or (c["columns"] if c["axis"] == 1 else c["rows"])
    layer = HQQLinear(None, BaseQuantizeConfig(nbits=4), compute_dtype=DTYPES[c["compute"]], device="cpu", initialize=False)
    params = dict(nbits=c["nbits"], channel_wise=True, group_size=group, optimize=c["optimize"],
                  round_zero=c["round_zero"], axis=c["axis"], view_as_float=False)
    layer.quantize(weight, params, meta_params(c["scale_meta"]), meta_params(c["zero_meta"]))
    result = dict(c)
    del result["nbits"]
    result["packed"] = sha256(layer.W_q.data)
    for what in ("scale", "zero"):
        if what in layer.meta:
            result[what] = sha256(layer.meta[what])
            result[what + "_head"] = [float(v) for v in layer.meta[what].flatten()[:3].float()]
        else:
            meta = layer.meta["meta_" + what]
            result[what + "_codes"] = sha256(layer.meta[what + "_q"])
            result[what + "_scale"] = sha256(meta["scale"].reshape(-1))
            result[what + "_zero"] = sha256(meta["zero"].reshape(-1))
    result["dequantized"] = sha256(layer.dequantize())
    result["input"] = sha256(weight)
    return result


def main():
    golden.deterministic(0)
    torch.set_grad_enabled(False)
    results = [answer(c) for c in cases()]
    assert len({c["name"] for c in results}) == len(results)
    base = inputs(1, 65536 + 17, 3, 1.0, "none").abs() + 1e-3
    powers = {"count": base.numel(), "seed": 3, "sigma": 1.0, "input": sha256(base), "powers": sha256(base.pow(0.7 - 1))}
    golden.write_json(HERE / "quantizer.json", {"powers": powers, "cases": results}, "test-data/hqq/make_goldens.py", ["hqq", "numpy"])
    print(len(results), "cases")


if __name__ == "__main__":
    main()
