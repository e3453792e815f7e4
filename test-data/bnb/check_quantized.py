"""Checks a model directory that `vectune quantize --method nf4|fp4|int8` wrote against the real libraries.

    vectune quantize --model test-data/tiny-llama --out QUANTIZED --method nf4 --double-quant
    python test-data/bnb/check_quantized.py test-data/tiny-llama QUANTIZED

1. Every quantized tensor of the file has the bytes of bitsandbytes' own quantization of the dense weight.
2. transformers loads the directory, and its layers dequantize to the bits of the library's own quantization.
3. The logits of the loaded model are those of the dense model with these dequantized weights (int8 in eval mode also
   quantizes its input: the difference is printed, not judged).
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, int8_vectorwise_dequant, int8_vectorwise_quant, quantize_4bit
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from common.golden import deterministic

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def expected_tensors(name, weight, config):
    """What bitsandbytes itself would store for a dense weight, and what it dequantizes to."""
    if config["load_in_8bit"]:
        codes, absmax, _ = int8_vectorwise_quant(weight.half())
        dense = int8_vectorwise_dequant(codes, absmax)
        return {f"{name}.weight": codes, f"{name}.SCB": absmax}, dense
    packed, state = quantize_4bit(
        weight,
        blocksize=64,
        quant_type=config["bnb_4bit_quant_type"],
        compress_statistics=config["bnb_4bit_use_double_quant"],
    )
    tensors = {f"{name}.weight": packed}
    tensors.update({f"{name}.weight.{key}": value for key, value in state.as_dict(packed=True).items()})
    return tensors, dequantize_4bit(packed, state)


def same_state(found, wanted):
    """Whether two packed quant states say the same: the text may end with blanks."""
    return bytes(found.tolist()).decode().rstrip() == bytes(wanted.tolist()).decode()


def main(dense_dir, quantized_dir):
    deterministic(0)
    dense = AutoModelForCausalLM.from_pretrained(dense_dir)
    loaded = AutoModelForCausalLM.from_pretrained(quantized_dir)
    config = loaded.config.quantization_config
    config = config if isinstance(config, dict) else config.to_dict()
    stored = {}
    for path in sorted(pathlib.Path(quantized_dir).glob("*.safetensors")):
        stored.update(load_file(path))
    layers = 0
    with torch.no_grad():
        for name, module in dense.named_modules():
            if name.rpartition(".")[2] not in LINEARS:
                continue
            tensors, values = expected_tensors(name, module.weight.data, config)
            for key, value in tensors.items():
                same = same_state(stored[key], value) if "quant_state" in key else torch.equal(stored[key], value)
                assert same, f"{key} differs from the library's"
            weight = loaded.get_submodule(name).weight
            if config["load_in_8bit"]:
                found = int8_vectorwise_dequant(weight.data, stored[f"{name}.SCB"])
            else:
                found = dequantize_4bit(weight.data, weight.quant_state)
            assert torch.equal(found.float(), values.float()), f"{name} dequantizes to other values"
            module.weight.copy_(values)
            layers += 1
        tokens = torch.arange(2, 34).reshape(1, 32)
        wanted = dense.float()(tokens).logits
        found = loaded.float()(tokens).logits if config["load_in_8bit"] is None else loaded(tokens).logits.float()
    difference = float((found - wanted).norm() / wanted.norm())
    print(f"{layers} layers equal; logits of transformers differ by {difference:.2e} of their size")
    assert layers > 0


if __name__ == "__main__":
    main(*sys.argv[1:])
