"""What bitsandbytes makes of small weights on the CPU.

    python test-data/bnb/make_bnb.py

four-bit.safetensors, for each CASE of 4-bit quantization:

    CASE.input              the weight (F32, F16 or BF16)
    CASE.packed             U8
    CASE.absmax             F32, or U8 codes where nested
    CASE.nested_absmax, CASE.nested_quant_map, CASE.nested_offset     F32, where nested
    CASE.dequantized        F32, by the default backend's formula (the CPU path takes wrong blocks where rows do not
                            hold whole blocks)

metadata CASE: quant_type, blocksize, dtype.

int8.safetensors, for each CASE of LLM.int8():

    CASE.input              the weight
    CASE.CB, CASE.SCB       I8 codes, F32 row maxima
    CASE.dequantized        F32
    CASE.x, CASE.threshold  F32 input and outlier threshold
    CASE.product            F32: the documented product (see product())
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import bitsandbytes as bnb
import torch
from bitsandbytes.backends.default import ops as default_ops
from bitsandbytes.functional import dequantize_blockwise, int8_vectorwise_dequant, int8_vectorwise_quant, quantize_4bit

from common.golden import deterministic, write_tensors

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = "test-data/bnb/make_bnb.py"


def normal(*shape, scale=0.05):
    return torch.randn(*shape) * scale


def outliers():
    w = normal(24, 96)
    w[3, 5] = 7.0
    w[10, 64:70] = -3.0
    return w


def constant_blocks():
    w = torch.full((8, 64), 0.25)
    w[1] = -0.5
    w[2] = 0.0
    w[3] = 1e-30
    w[4] = 1e-39
    return w


def midpoints(quant_type):
    """Every midpoint of the codebook and its two neighbors, both signs, in blocks whose absmax is 1."""
    code = bnb.functional.get_4bit_type(quant_type, device="cpu")
    order = torch.argsort(code)
    mid = (code[order[:-1]] + code[order[1:]]) / 2
    up = torch.nextafter(mid, torch.full_like(mid, 2.0))
    down = torch.nextafter(mid, torch.full_like(mid, -2.0))
    values = torch.cat([mid, up, down, -mid, -up, -down, code, torch.tensor([1e-3, -1e-3, 0.0, -0.0, 1e-8, -1e-8])])
    blocks = []
    for part in torch.split(values, 63):
        block = torch.zeros(64)
        block[: len(part)] = part
        block[63] = 1.0
        blocks.append(block)
    return torch.stack(blocks)


# name: (weight, quant_type, blocksize, nested)
FOUR_BIT = {
    "nf4": lambda: (normal(32, 128), "nf4", 64, False),
    "nf4_nested": lambda: (normal(32, 128), "nf4", 64, True),
    "nf4_f16": lambda: (normal(16, 96).half(), "nf4", 64, False),
    "nf4_bf16_nested": lambda: (normal(16, 96).bfloat16(), "nf4", 64, True),
    "nf4_block32": lambda: (normal(9, 96), "nf4", 32, False),
    "nf4_block128_straddles": lambda: (normal(7, 160), "nf4", 128, False),
    "nf4_block256": lambda: (normal(12, 128), "nf4", 256, True),
    "nf4_block512_straddles": lambda: (normal(5, 320), "nf4", 512, False),
    "nf4_block1024": lambda: (normal(17, 64), "nf4", 1024, False),
    "nf4_block2048": lambda: (normal(17, 192), "nf4", 2048, True),
    "nf4_block4096": lambda: (normal(33, 126), "nf4", 4096, False),
    "nf4_odd": lambda: (normal(7, 33), "nf4", 64, False),
    "nf4_odd_nested": lambda: (normal(11, 101), "nf4", 32, True),
    "nf4_vector": lambda: (normal(1, 1001)[0], "nf4", 64, False),
    "nf4_single": lambda: (torch.tensor([[-0.75]]), "nf4", 64, False),
    "nf4_outliers": lambda: (outliers(), "nf4", 64, True),
    "nf4_constant": lambda: (constant_blocks(), "nf4", 64, False),
    "nf4_zero": lambda: (torch.zeros(4, 70), "nf4", 64, True),
    "nf4_negative": lambda: (-normal(8, 64).abs(), "nf4", 64, True),
    "nf4_midpoints": lambda: (midpoints("nf4"), "nf4", 64, False),
    "nf4_many_blocks": lambda: (normal(24, 512), "nf4", 32, True),
    "fp4": lambda: (normal(32, 128), "fp4", 64, False),
    "fp4_nested": lambda: (normal(32, 128), "fp4", 64, True),
    "fp4_f16_block32": lambda: (normal(6, 100).half(), "fp4", 32, False),
    "fp4_bf16_straddles": lambda: (normal(7, 160).bfloat16(), "fp4", 128, True),
    "fp4_odd": lambda: (normal(5, 71), "fp4", 64, False),
    "fp4_midpoints": lambda: (midpoints("fp4"), "fp4", 64, False),
    "fp4_constant": lambda: (constant_blocks(), "fp4", 64, True),
    "fp4_uniform_block4096": lambda: (torch.rand(40, 128) - 0.5, "fp4", 4096, False),
}


def four_bit():
    tensors, about = {}, {}
    for name, make in FOUR_BIT.items():
        weight, quant_type, blocksize, nested = make()
        packed, state = quantize_4bit(weight, blocksize=blocksize, compress_statistics=nested, quant_type=quant_type)
        tensors[f"{name}.input"] = weight
        tensors[f"{name}.packed"] = packed.reshape(-1)
        tensors[f"{name}.absmax"] = state.absmax
        absmax = state.absmax
        if nested:
            tensors[f"{name}.nested_absmax"] = state.state2.absmax
            tensors[f"{name}.nested_quant_map"] = state.state2.code
            tensors[f"{name}.nested_offset"] = state.offset.reshape(1)
            absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset
        tensors[f"{name}.dequantized"] = default_ops._dequantize_4bit_compute.__wrapped__(
            packed.reshape(-1), absmax, state.code, blocksize, tuple(weight.shape), torch.float32
        ) if hasattr(default_ops._dequantize_4bit_compute, "__wrapped__") else default_ops._dequantize_4bit_compute(
            packed.reshape(-1), absmax, state.code, blocksize, tuple(weight.shape), torch.float32
        )
        about[name] = {"quant_type": quant_type, "blocksize": blocksize, "nested": nested}
    write_tensors(HERE / "four-bit.safetensors", tensors, SCRIPT, ["bitsandbytes"], **about)


INT8 = {
    "plain": lambda: (normal(20, 64), torch.randn(3, 64), 0.0),
    "odd": lambda: (normal(7, 33), torch.randn(5, 33), 0.0),
    "f16": lambda: (normal(6, 48).half(), torch.randn(2, 48), 0.0),
    "bf16": lambda: (normal(6, 48).bfloat16(), torch.randn(2, 48), 0.0),
    "zero_row": lambda: (torch.cat([normal(2, 32), torch.zeros(1, 32), normal(1, 32)]), torch.randn(2, 32), 0.0),
    "no_outliers": lambda: (normal(8, 64), torch.randn(4, 64).clamp(-3, 3), 6.0),
    "one_outlier": lambda: (normal(8, 64), with_outliers(4, 64, [(1, 7)]), 6.0),
    "many_outliers": lambda: (normal(8, 96), with_outliers(4, 96, [(0, 0), (0, 5), (1, 5), (2, 95), (3, 40)]), 6.0),
    "one_row": lambda: (normal(8, 64), with_outliers(1, 64, [(0, 3), (0, 63)]), 6.0),
    "wide": lambda: (normal(4, 2100), torch.randn(2, 2100), 0.0),
}


def with_outliers(rows, columns, places):
    x = torch.randn(rows, columns).clamp(-3, 3)
    for row, column in places:
        x[row, column] = 8.5 if (row + column) % 2 == 0 else -7.25
    return x


def product(x, cb, scb, threshold):
    """Y = CA CB^T SCA SCB / 127^2 + outlier columns, with the library's activation quantization, exact integer sums in
    float64 and the exact constant (the library's is 1.8e-5 too large)."""
    ca, sca, columns = int8_vectorwise_quant(x.half(), threshold=threshold)
    sums = ca.double() @ cb.double().t()
    y = sums * sca.double().view(-1, 1) * scb.double().view(1, -1) / (127.0 * 127.0)
    if columns is not None and columns.numel():
        dequantized = int8_vectorwise_dequant(cb[:, columns], scb)
        y += x[:, columns].double() @ dequantized.double().t()
    return y.float(), ca, sca


def int8():
    tensors = {}
    for name, make in INT8.items():
        weight, x, threshold = make()
        cb, scb, _ = int8_vectorwise_quant(weight.half())
        tensors[f"{name}.input"] = weight
        tensors[f"{name}.CB"] = cb
        tensors[f"{name}.SCB"] = scb
        tensors[f"{name}.dequantized"] = int8_vectorwise_dequant(cb, scb)
        tensors[f"{name}.x"] = x
        tensors[f"{name}.threshold"] = torch.tensor([threshold])
        y, ca, sca = product(x, cb, scb, threshold)
        tensors[f"{name}.CA"] = ca
        tensors[f"{name}.SCA"] = sca
        tensors[f"{name}.product"] = y
    write_tensors(HERE / "int8.safetensors", tensors, SCRIPT, ["bitsandbytes"])


if __name__ == "__main__":
    deterministic(20261122)
    four_bit()
    int8()
