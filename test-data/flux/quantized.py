"""Goldens of quantized Flux transformers: what diffusers and bitsandbytes predict without and with a Control LoRA, whose
wide x_embedder diffusers makes dense.

Writes quantized.safetensors beside this script: METHOD.plain for the inputs of dev-plain.safetensors, METHOD.control_S
at scale S for those of dev-control.safetensors.

Run: python test-data/flux/quantized.py
"""

import os
import pathlib
import sys

# The library compiles its decoder anew for every shape otherwise.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import bitsandbytes
import golden
import torch
from bitsandbytes.backends.default import ops as default_ops
from bitsandbytes.backends.utils import _get_4bit_code
from diffusers import BitsAndBytesConfig, FlowMatchEulerDiscreteScheduler, FluxControlPipeline, FluxTransformer2DModel
from diffusers.quantizers.bitsandbytes import BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer
from safetensors.torch import load_file

INPUTS = (
    "hidden_states",
    "encoder_hidden_states",
    "pooled_projections",
    "timestep",
    "guidance",
    "img_ids",
    "txt_ids",
)
LIBRARY = torch.library.Library("bitsandbytes", "IMPL")
METHODS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4-nested": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}


def use_the_cpu():
    """Lets diffusers load quantized models here: it refuses them without a GPU before it reads anything. And takes
    bitsandbytes' portable formula for decoding: that of the CPU reads wrong blocks where rows do not end with them."""
    for quantizer in (BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer):
        quantizer.validate_environment = lambda *_, **__: None

    def decode(packed, absmax, blocksize, quant_type, shape, dtype):
        code = _get_4bit_code(quant_type, packed.device)
        return default_ops._dequantize_4bit_compute(
            packed.view(torch.uint8).reshape(-1), absmax, code, blocksize, shape, dtype
        )

    LIBRARY.impl("dequantize_4bit", decode, "CPU", allow_override=True)


def inputs(file):
    return {key: value for key, value in load_file(HERE / file).items() if key in INPUTS}


def predict(transformer, given):
    with torch.no_grad():
        return transformer(**given, return_dict=False)[0]


def with_adapter(transformer, path, scale):
    """Loads a Control LoRA as a user of diffusers does."""
    pipe = FluxControlPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )
    pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="control")
    pipe.set_adapters("control", scale)
    return pipe


def load(path, **options):
    transformer = FluxTransformer2DModel.from_pretrained(
        path, torch_dtype=torch.float32, device_map="cpu", **options
    )
    # In evaluation the library packs 4-bit weights anew for some CPUs, which these small shapes break, and quantizes the
    # activations beside 8-bit weights; in training it multiplies by the decoded weights.
    return transformer.train()


def main():
    golden.deterministic(7)
    use_the_cpu()
    tensors = {}
    for name, options in METHODS.items():
        transformer = load(HERE / "dev", quantization_config=BitsAndBytesConfig(**options))
        kinds = {type(module) for module in transformer.modules() if isinstance(module, torch.nn.Linear)}
        assert kinds <= {bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt}, kinds
        tensors[f"{name}.plain"] = predict(transformer, inputs("dev-plain.safetensors"))
        pipe = with_adapter(transformer, HERE / "control.safetensors", 1.0)
        assert type(transformer.x_embedder.base_layer) is torch.nn.Linear
        wide = inputs("dev-control.safetensors")
        for scale in (1.0, 0.85):
            pipe.set_adapters("control", scale)
            tensors[f"{name}.control_{scale}"] = predict(transformer, wide)
    golden.write_tensors(
        HERE / "quantized.safetensors",
        tensors,
        "test-data/flux/quantized.py",
        ("diffusers", "bitsandbytes", "peft", "safetensors"),
    )


if __name__ == "__main__":
    main()
