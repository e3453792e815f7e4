"""Directories of quantized models between this project and transformers with bitsandbytes, both ways.

    python test-data/roundtrip/bitsandbytes_directories.py make
    python test-data/roundtrip/bitsandbytes_directories.py check VECTUNE

`make` lets transformers quantize and save a model of a few KB in each format: nf4, nf4-double, fp4, int8, each with the
library's own logits in `logits.golden` (f32 arithmetic on the dequantized weights).

`check` runs the command VECTUNE: what it quantizes, transformers loads; what transformers saved, it loads. Logits must be
equal within f32 noise. The library's inference kernels are left out: in evaluation bitsandbytes 0.50.2 multiplies in bf16
on some CPUs, and int8 quantizes the activations; here its dequantized weights are multiplied in f32.
"""

import sys

import micro
import torch
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

VERSIONS = {"transformers": "5.23.0", "bitsandbytes": "0.50.2", "torch": "2.15.0"}
SCRIPT = "test-data/roundtrip/bitsandbytes_directories.py"
FORMATS = {
    "nf4": (dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"), ["--method", "nf4"]),
    "nf4-double": (dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
                   ["--method", "nf4", "--double-quant"]),
    "fp4": (dict(load_in_4bit=True, bnb_4bit_quant_type="fp4"), ["--method", "fp4"]),
    "int8": (dict(load_in_8bit=True), ["--method", "int8"]),
}
NOISE = 2e-5


def load(directory):
    """What transformers loads, with each quantized layer multiplying in f32 by what bitsandbytes dequantizes to f32."""
    loaded = AutoModelForCausalLM.from_pretrained(directory, device_map="cpu", attn_implementation="eager")
    for module in loaded.modules():
        kind = type(module).__name__
        if kind == "Linear4bit":
            state = module.weight.quant_state
            state.dtype = torch.float32
            module.dense = dequantize_4bit(module.weight.data, state)
        elif kind == "Linear8bitLt":
            absmax = module.weight.SCB if module.state.SCB is None else module.state.SCB
            module.dense = int8_vectorwise_dequant(module.weight.data, absmax)
        else:
            micro.widen(module)
            continue
        module.forward = lambda x, module=module: torch.nn.functional.linear(x, module.dense, module.bias)
    return loaded


def quantized(loaded):
    return sorted(name for name, module in loaded.named_modules() if type(module).__name__ in ("Linear4bit", "Linear8bitLt"))


def make():
    source = micro.model(micro.HERE / "dense")
    for name, (options, _) in FORMATS.items():
        directory = micro.clear(micro.HERE / name)
        own = AutoModelForCausalLM.from_pretrained(source, device_map="cpu", dtype=torch.bfloat16,
                                                   quantization_config=BitsAndBytesConfig(**options))
        own.save_pretrained(directory)
        (directory / "generation_config.json").unlink(missing_ok=True)
        loaded = load(directory)
        assert len(quantized(loaded)) == 7, quantized(loaded)
        print(name)
        micro.write_golden(directory, micro.logits(loaded), SCRIPT, ["transformers", "bitsandbytes"])
    micro.clear(micro.HERE / "dense")


def check(program):
    command = micro.Command(program)
    sources = {"tiny-llama": micro.HERE.parent / "tiny-llama", "untied": micro.model(command.folder / "untied", tied=False)}
    try:
        for name, (_, options) in FORMATS.items():
            for label, source in sources.items():
                directory = command.quantize(source, f"{label}-{name}", *options)
                loaded = load(directory)
                assert len(quantized(loaded)) == (28 if label == "tiny-llama" else 7), quantized(loaded)
                assert not any("lm_head" in layer for layer in quantized(loaded))
                away = micro.distance(command.logits(directory), micro.logits(loaded))
                print(f"{name}: vectune -> transformers, {label}: logits differ by {away:.1e}")
                assert away < NOISE
            directory = micro.HERE / name
            away = micro.distance(command.logits(directory), micro.logits(load(directory)))
            print(f"{name}: transformers -> vectune: logits differ by {away:.1e}")
            assert away < NOISE
    finally:
        command.close()


if __name__ == "__main__":
    micro.require(**VERSIONS)
    make() if sys.argv[1:] == ["make"] else check(sys.argv[2])
