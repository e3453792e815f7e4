"""Checkpoints that the real hqq writes: safetensors of `HQQLinear.state_dict()`, and `qmodel.pt` files of torch.save.

Beside each file lies NAME.expected.safetensors with `LAYER.weight`, what the library dequantizes (F32 holds F16 and BF16
values exactly).

    python test-data/hqq/make_files.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))

import golden
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
from make_goldens import DTYPES, inputs, meta_params
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent / "files"


def layer(rows, columns, nbits, group, axis, compute, view_as_float=False, bias=False, scale_meta="plain", zero_meta="plain"):
    weight = inputs(rows, columns, 21, 0.05, "none")
    result = HQQLinear(None, BaseQuantizeConfig(nbits=4), compute_dtype=DTYPES[compute], device="cpu", initialize=False)
    weights = dict(nbits=nbits, channel_wise=True, group_size=group, optimize=True, round_zero=nbits == 4, axis=axis,
                   view_as_float=view_as_float)
    config = {"weight_quant_params": weights, "scale_quant_params": meta_params(scale_meta),
              "zero_quant_params": meta_params(zero_meta)}
    result.quant_config = config
    result.quantize(weight, **config)
    if bias:
        result.bias = inputs(1, rows, 22, 0.1, "none").reshape(-1).to(DTYPES[compute])
    return result


def plain_layers():
    yield "model.layers.0.self_attn.q_proj", layer(32, 64, 4, 64, 1, "F32")
    yield "model.layers.0.self_attn.k_proj", layer(16, 64, 8, 32, 1, "F16", bias=True)
    yield "model.layers.0.self_attn.v_proj", layer(16, 64, 2, 16, 0, "BF16")
    yield "model.layers.0.self_attn.o_proj", layer(64, 33, 3, 64, 1, "F32")
    yield "model.layers.0.mlp.gate_proj", layer(48, 64, 3, 64, 0, "F16", view_as_float=True)
    yield "model.layers.0.mlp.up_proj", layer(48, 64, 4, 64, 1, "BF16", view_as_float=True)
    yield "model.layers.0.mlp.down_proj", layer(64, 48, 1.58, 16, 1, "F32")
    yield "model.layers.1.mlp.gate_proj", layer(48, 64, 1, 64, 1, "F32")
    yield "model.layers.1.mlp.up_proj", layer(48, 64, 6, 64, 1, "F32")
    yield "model.layers.1.mlp.down_proj", layer(64, 48, 5, 48, 1, "F32")


def meta_layers():
    yield "q_proj", layer(64, 128, 3, 64, 1, "BF16", scale_meta="128", zero_meta="128")
    yield "k_proj", layer(128, 128, 4, 64, 1, "F32", scale_meta="128", zero_meta="tensor")
    yield "v_proj", layer(64, 64, 2, 16, 0, "F16", zero_meta="tensor", bias=True)


def expected(name, layers):
    golden.write_tensors(HERE / f"{name}.expected.safetensors",
                         {key + ".weight": value.dequantize().float() for key, value in layers},
                         "test-data/hqq/make_files.py", ["hqq"])


def main():
    golden.deterministic(0)
    torch.set_grad_enabled(False)
    HERE.mkdir(exist_ok=True)

    layers = list(plain_layers())
    tensors = {f"{name}.{key}": value.contiguous() for name, part in layers for key, value in part.state_dict().items()}
    tensors["model.norm.weight"] = torch.ones(64)
    save_file(tensors, HERE / "plain.safetensors")
    expected("plain", layers)

    for _, part in layers:
        part.encoded_state_dict = False
    modules = {name: part.state_dict() for name, part in layers}
    modules["model.norm"] = {"weight": torch.ones(64)}
    torch.save(modules, HERE / "qmodel.pt")

    layers = list(meta_layers())
    for _, part in layers:
        part.encoded_state_dict = False
    torch.save({name: part.state_dict() for name, part in layers}, HERE / "qmodel-meta.pt")
    expected("qmodel-meta", layers)

    # the dictionaries of hqq up to 0.1.8, and the stacking that it did for offloaded metadata (which now needs CUDA)
    old = {}
    for name, part in layers:
        meta = dict(part.meta)
        for inner in ("meta_scale", "meta_zero"):
            if inner in meta:
                meta[inner] = {key: value for key, value in meta[inner].items() if key != "view_as_float"}
        if name == "q_proj":
            meta["zero_scale"] = torch.stack((meta.pop("zero_q"), meta.pop("scale_q")))
        old[name] = {"W_q": part.W_q, "meta": meta, "bias": part.bias}
    torch.save(old, HERE / "qmodel-old.pt")

    class Foreign:
        def __reduce__(self):
            return (print, ("a pickle that runs code",))

    torch.save({"q_proj": Foreign()}, HERE / "qmodel-foreign.pt")
    for file in HERE.iterdir():
        file.chmod(0o644)
        print(file.name, file.stat().st_size)


if __name__ == "__main__":
    main()
