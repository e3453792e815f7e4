"""Directories of quantized models between this project and hqq, by itself and in transformers, both ways.

    python test-data/roundtrip/hqq_directories.py make
    python test-data/roundtrip/hqq_directories.py check VECTUNE

`make` saves a model of a few KB in the three forms that users have: transformers' (hqq4-transformers), hqq's safetensors
(hqq3-safetensors) and hqq's pickle (hqq2-qmodel), each with the library's own logits in `logits.golden`.

`check` runs the command VECTUNE: what it quantizes, transformers and hqq load; what they saved, it loads. Logits must be
equal within f32 noise.

Transformers 5 has no HQQ (it leaves random layers without an error); 4.57.1 is the last that has it.
"""

import json
import sys

import micro
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQBackend, HQQLinear
from hqq.core.utils import decode_safetensor_type
from hqq.models.hf.base import AutoHQQHFModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, HqqConfig

VERSIONS = {"transformers": "4.57.1", "hqq": "0.2.8.post1", "torch": "2.15.0"}
SCRIPT = "test-data/roundtrip/hqq_directories.py"
PACKAGES = ["transformers", "hqq"]
NOISE = 2e-5


def in_f32(loaded):
    """Lets the layers multiply in f32: dequantization keeps the type that the file names, its result is widened."""
    for module in loaded.modules():
        if isinstance(module, HQQLinear):
            dequantize = module.dequantize
            module.dequantize = lambda dequantize=dequantize: dequantize().float()
        else:
            micro.widen(module)
    return loaded


def layers(loaded):
    return sorted(name for name, module in loaded.named_modules() if isinstance(module, HQQLinear))


def by_transformers(directory):
    """What transformers makes of a directory, all by itself."""
    return AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype="auto")


def by_hqq(directory):
    """What hqq makes of the safetensors file of a directory: every layer by `HQQLinear.load_state_dict`."""
    config = AutoConfig.from_pretrained(directory)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    tensors = load_file(directory / "model.safetensors")
    plain = {}
    names = [key[:-len(".W_q")] for key in tensors if key.endswith(".W_q")]
    for name in names:
        state = {key[len(name) + 1:]: value for key, value in tensors.items() if key.startswith(name + ".")}
        compute = decode_safetensor_type(state["compute_dtype"], torch.dtype)
        layer = HQQLinear(None, None, compute_dtype=compute, device="cpu", initialize=False)
        layer.load_state_dict(state)
        parent, _, leaf = name.rpartition(".")
        setattr(fresh.get_submodule(parent), leaf, layer)
    for key, value in tensors.items():
        if not any(key.startswith(name + ".") for name in names):
            plain[key] = value
    missing, unexpected = fresh.load_state_dict(plain, strict=False)
    assert not unexpected, unexpected
    fresh.tie_weights()
    return fresh


def f32_model(source, layers_config):
    """hqq's own quantization of a model, computed and stored in f32."""
    dense = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    AutoHQQHFModel.quantize_model(dense, quant_config=layers_config, compute_dtype=torch.float32, device="cpu")
    return dense


def make():
    source = micro.model(micro.HERE / "dense")
    untied = micro.model(micro.HERE / "dense-untied", tied=False)

    directory = micro.clear(micro.HERE / "hqq4-transformers")
    own = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager",
                                               quantization_config=HqqConfig(nbits=4, group_size=64))
    own.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    loaded = in_f32(by_transformers(directory))
    assert len(layers(loaded)) == 7, layers(loaded)
    print(directory.name)
    micro.write_golden(directory, micro.logits(loaded), SCRIPT, PACKAGES)

    directory = micro.clear(micro.HERE / "hqq3-safetensors")
    own = f32_model(untied, BaseQuantizeConfig(nbits=3, group_size=32, axis=0))
    AutoHQQHFModel.save_to_safetensors(own, str(directory))
    print(directory.name)
    micro.write_golden(directory, micro.logits(in_f32(own)), SCRIPT, PACKAGES)

    directory = micro.clear(micro.HERE / "hqq2-qmodel")
    own = f32_model(source, BaseQuantizeConfig(nbits=2, group_size=16, axis=1))
    AutoHQQHFModel.save_quantized(own, str(directory))
    for extra in directory.iterdir():
        if extra.name not in ("config.json", "qmodel.pt"):
            extra.unlink()
    print(directory.name)
    micro.write_golden(directory, micro.logits(in_f32(own)), SCRIPT, PACKAGES)
    micro.clear(source)
    micro.clear(untied)


OPTIONS = {
    "4": ["--bits", "4"], "4-axis0": ["--bits", "4", "--axis", "0"], "8": ["--bits", "8"], "3": ["--bits", "3"],
    "2": ["--bits", "2", "--group-size", "16"], "1": ["--bits", "1", "--group-size", "8"],
    "budget": ["--target-bits", "3.5"],
}


def check(program):
    command = micro.Command(program)
    sources = {"tiny-llama": micro.HERE.parent / "tiny-llama", "untied": micro.model(command.folder / "untied", False, torch.float32)}
    readers = {"transformers": by_transformers, "hqq": by_hqq}
    try:
        for name, options in OPTIONS.items():
            for label, source in sources.items():
                directory = command.quantize(source, f"{label}-{name}", "--method", "hqq", *options)
                ours = command.logits(directory)
                for reader, load in readers.items():
                    loaded = in_f32(load(directory))
                    assert len(layers(loaded)) == (28 if label == "tiny-llama" else 7), layers(loaded)
                    away = micro.distance(ours, micro.logits(loaded))
                    print(f"hqq {name}: vectune -> {reader}, {label}: logits differ by {away:.1e}")
                    # transformers computes scales of bf16 in f32, which dequantizes to other values in the last bits
                    assert away < (NOISE if reader == "hqq" or label == "untied" else 1e-2)
        for name in ("hqq4-transformers", "hqq3-safetensors", "hqq2-qmodel"):
            away = micro.distance(command.logits(micro.HERE / name),
                                  load_file(micro.HERE / name / "logits.golden")["logits"])
            print(f"{name} -> vectune: logits differ by {away:.1e}")
            assert away < NOISE
    finally:
        command.close()


if __name__ == "__main__":
    micro.require(**VERSIONS)
    HQQLinear.set_backend(HQQBackend.PYTORCH)
    make() if sys.argv[1:] == ["make"] else check(sys.argv[2])
