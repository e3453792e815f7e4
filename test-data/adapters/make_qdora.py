"""QDoRA as the reference notebook writes it: DoRA over a layer that hqq packed, 10 codes of 3 bits an int32, scales and
zero points in 8 bits with scales and zero points of their own.

    scale, zero = (codes8 - zero8) * scale8          a group, 8 bits
    W = (codes3 - zero) * scale                      3 bits
    y = m alpha / |W + B A| * (x Wᵀ + (x Aᵀ) Bᵀ)     row norms taken as constants

hqq only quantizes and packs; words, scales and the module are taken apart here by the formulas, in f32, and the result is
required to be hqq's. NAME.pt holds the packed layer (torch.save, one dictionary a module), NAME.safetensors the values
of the module, NAME.adapter.safetensors its parameters with the names of FSDP-QDoRA.

    python test-data/adapters/make_qdora.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))

import golden
import torch
from hqq.core.quantize import HQQLinear

HERE = pathlib.Path(__file__).resolve().parent / "qdora"
SCRIPT = "test-data/adapters/make_qdora.py"
MODULE = "model.layers.0.self_attn.q_proj"


def packed_layer(weight, group_size, meta_group, view_as_float):
    """The dictionary of a 3-bit HQQLinear with 8-bit scales and zero points."""
    meta = dict(nbits=8, channel_wise=meta_group is not None, group_size=meta_group, optimize=False, axis=1)
    config = {
        "weight_quant_params": dict(nbits=3, channel_wise=True, group_size=group_size, optimize=True, round_zero=False,
                                    axis=1, view_as_float=view_as_float),
        "scale_quant_params": dict(meta),
        "zero_quant_params": dict(meta),
    }
    layer = HQQLinear(None, None, compute_dtype=torch.float32, device="cpu", initialize=False)
    layer.quant_config = config
    layer.quantize(weight, **config)
    layer.encoded_state_dict = False
    return layer


def unpack_3_bit(words, rows):
    """Ten codes a word, the first block of rows in the highest bits; the last rows are padding."""
    step = words.shape[0]
    codes = torch.empty(10 * step, words.shape[1], dtype=torch.int32)
    for block in range(10):
        codes[block * step:(block + 1) * step] = words >> (27 - 3 * block) & 7
    return codes[:rows]


def dequantize_8_bit(codes, meta):
    return ((codes.float() - meta["zero"]) * meta["scale"]).reshape(meta["shape"])


def dequantize(state):
    words = state["W_q"].view(torch.int32) if state["view_as_float"] else state["W_q"]
    scale = dequantize_8_bit(state["scale_q"], state["meta_scale"])
    zero = dequantize_8_bit(state["zero_q"], state["meta_zero"])
    return ((unpack_3_bit(words, scale.shape[0]).float() - zero) * scale).reshape(state["shape"])


class QuantizedDora(torch.nn.Module):
    def __init__(self, weight, a, b, m, alpha):
        super().__init__()
        self.weight, self.alpha = weight, alpha
        self.a, self.b, self.m = (torch.nn.Parameter(value) for value in (a, b, m))

    def forward(self, x):
        y = x @ self.weight.t() + (x @ self.a.t()) @ self.b.t()
        y = y / torch.linalg.norm(self.weight + self.b @ self.a, dim=1).detach()
        return y * (self.m * self.alpha)


def case(name, weight, group_size, meta_group, view_as_float, x, a, b, m, alpha, grad_output):
    layer = packed_layer(weight.clone(), group_size, meta_group, view_as_float)
    state = layer.state_dict()
    dense = dequantize(state)
    assert torch.equal(dense, layer.dequantize()), "the formulas are not hqq's"
    torch.save({MODULE: state}, HERE / f"{name}.pt")
    (HERE / f"{name}.pt").chmod(0o644)
    norms = torch.linalg.norm(dense, dim=1)
    module = QuantizedDora(dense, a, b, norms if m is None else m, alpha)
    x.requires_grad_()
    y = module(x)
    y.backward(torch.ones_like(y) if grad_output is None else grad_output)
    tensors = {"weight": dense, "x": x, "y": y, "base": x @ dense.t(), "start.m": norms,
               "gradOutput": torch.ones_like(y) if grad_output is None else grad_output,
               "gradient.x": x.grad, "gradient.a": module.a.grad, "gradient.b": module.b.grad,
               "gradient.m": module.m.grad}
    golden.write_tensors(HERE / f"{name}.safetensors", tensors, SCRIPT, ["hqq"], alpha=repr(alpha))
    adapter = {MODULE + ".dora_layer.lora_A.weight": module.a, MODULE + ".dora_layer.lora_B.weight": module.b,
               MODULE + ".magnitude_layer.magnitude": module.m}
    golden.write_tensors(HERE / f"{name}.adapter.safetensors", adapter, SCRIPT, [])


def main():
    golden.deterministic(5)
    HERE.mkdir(exist_ok=True)
    # the notebook's own size: groups run over rows, two groups make one word, B = 0, loss = sum(y)
    case("start", torch.randn(16, 8) * 0.1, 64, None, False, torch.randn(3, 8), torch.randn(2, 8) / 2 ** 0.5,
         torch.zeros(16, 2), None, 1.0, None)
    # as FSDP-QDoRA packs and starts: words shown as floats, m from the weight before quantization; B as after steps
    weight = torch.randn(64, 128) * 0.05
    case("trained", weight, 64, 128, True, torch.randn(10, 128), torch.randn(8, 128) / 8 ** 0.5,
         torch.randn(64, 8) * 0.02, torch.linalg.norm(weight, dim=1), 1.0, torch.randn(10, 64))
    # alpha scales the whole output
    weight = torch.randn(64, 128) * 0.05
    case("alpha", weight, 64, 128, False, torch.randn(10, 128), torch.randn(4, 128) / 4 ** 0.5,
         torch.randn(64, 4) * 0.02, torch.linalg.norm(weight, dim=1), 0.75, torch.randn(10, 64))


if __name__ == "__main__":
    main()
