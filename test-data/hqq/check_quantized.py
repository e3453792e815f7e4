"""Checks a file that `vectune quantize --method hqq` wrote against the real library.

    vectune quantize --model DENSE.safetensors --out QUANTIZED.safetensors --method hqq --bits 4 ...
    python test-data/hqq/check_quantized.py DENSE.safetensors QUANTIZED.safetensors

Every layer is loaded by `HQQLinear.load_state_dict` as it lies in the file (with 8-bit metadata: after nesting its keys,
as hqq cannot store that in safetensors) and must dequantize to the bits that hqq's own quantization of the dense weight
dequantizes to.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))

import golden
import torch
from hqq.core.quantize import HQQLinear
from hqq.core.utils import decode_safetensor_type
from safetensors.torch import load_file

TYPES = {"nbits": int, "group_size": int, "axis": int, "shape": torch.Size, "packing": str, "view_as_float": bool,
         "unpack_view_dtype": torch.dtype, "compute_dtype": torch.dtype}


def load(state):
    """An HQQLinear from the tensors of one layer."""
    compute = decode_safetensor_type(state["compute_dtype"], torch.dtype)
    layer = HQQLinear(None, None, compute_dtype=compute, device="cpu", initialize=False)
    nested = {key: value for key, value in state.items() if "." in key}
    if nested:
        flat = {key: value for key, value in state.items() if "." not in key}
        meta = {key: decode_safetensor_type(flat[key], kind) for key, kind in TYPES.items()}
        meta.update({key: bool(flat[key]) for key in ("quant_scale", "quant_zero")})
        for what in ("scale", "zero"):
            meta[what + "_q"] = flat[what + "_q"]
            inner = {key.split(".")[1]: value for key, value in nested.items() if key.startswith(f"meta_{what}.")}
            meta["meta_" + what] = {key: decode_safetensor_type(value, TYPES.get(key, torch.Tensor)) for key, value in inner.items()}
        layer.load_state_dict({"W_q": flat["W_q"], "meta": meta})
    else:
        layer.load_state_dict(dict(state))
    return layer


def own(layer, state, weight):
    """hqq's own quantization of the dense weight with the same settings."""
    nbits = float(state["nbits"])
    nbits = int(nbits) if nbits == int(nbits) else 1.58
    weights = dict(nbits=nbits, channel_wise=True, group_size=int(state["group_size"]), optimize=bool(state["optimize"]),
                   round_zero=bool(state["round_zero"]), axis=int(state["axis"]), view_as_float=False)
    scale = zero = None
    if bool(state["quant_scale"]):
        size = int(state["meta_scale.group_size"])
        scale = dict(nbits=8, channel_wise=True, group_size=size, optimize=False)
        zero = dict(nbits=8, channel_wise=False, group_size=None, optimize=False)
    fresh = HQQLinear(None, None, compute_dtype=layer.compute_dtype, device="cpu", initialize=False)
    fresh.quantize(weight, weights, scale, zero)
    return fresh


def main(dense, quantized):
    golden.deterministic(0)
    torch.set_grad_enabled(False)
    weights, tensors = load_file(dense), load_file(quantized)
    layers = [name[:-len(".W_q")] for name in tensors if name.endswith(".W_q")]
    assert layers, "no HQQ layer in " + quantized
    for name in layers:
        state = {key[len(name) + 1:]: value for key, value in tensors.items() if key.startswith(name + ".")}
        layer = load(state)
        expected = own(layer, state, weights[name + ".weight"])
        assert layer.W_q.dtype == expected.W_q.dtype and torch.equal(layer.W_q, expected.W_q), name + ": packed words differ"
        ours, theirs = layer.dequantize(), expected.dequantize()
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), name + ": dequantized values differ"
        print(f"{name}: {tuple(ours.shape)} {ours.dtype}, equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
