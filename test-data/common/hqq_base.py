"""HQQ bases made by the real library: every decoder linear as an HQQLinear, on the CPU, computed in f32."""

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQBackend, HQQLinear

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def quantize_linears(model, nbits=4, group_size=64, axis=1):
    """Replaces the seven linears of each decoder layer in place and returns {name: HQQLinear}."""
    HQQLinear.set_backend(HQQBackend.PYTORCH)
    quantized = {}
    for name, module in list(model.named_modules()):
        if name.rpartition(".")[2] in LINEARS:
            # a fresh configuration each time: the library writes into the one it is given
            config = BaseQuantizeConfig(nbits=nbits, group_size=group_size, axis=axis)
            layer = HQQLinear(module, config, compute_dtype=torch.float32, device="cpu", del_orig=False)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layer)
            quantized[name] = layer
    return quantized


def dequantize_linears(model, nbits=4, group_size=64, axis=1):
    """Replaces each linear's weight in place by its HQQ reconstruction: the same function as an HQQ base."""
    copies = {}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in LINEARS:
            config = BaseQuantizeConfig(nbits=nbits, group_size=group_size, axis=axis)
            layer = HQQLinear(module, config, compute_dtype=torch.float32, device="cpu", del_orig=False)
            copies[name] = layer
    for name, layer in copies.items():
        with torch.no_grad():
            model.get_submodule(name).weight.copy_(layer.dequantize())
    return copies
