"""Gives diffusers and bitsandbytes what the command line writes for Flux transformers, and compares what both predict.

  tuned       `vectune tune` writes a Control LoRA: diffusers loads it and predicts the same; it can save it again
  merged      `vectune merge` writes a transformer: diffusers loads it and predicts the same
  quantized   `vectune quantize` writes nf4, fp4 and int8 directories: diffusers and bitsandbytes load every layer and
              predict the same, without and with a Control LoRA, whose wide x_embedder diffusers makes dense; likewise
              what `vectune merge --requantize` writes, with x_embedder quantized or dense

Run: VECTUNE=./vectune python test-data/flux/check_diffusers.py
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import quantized as of_libraries
import torch
from diffusers import FluxTransformer2DModel
from peft.utils import get_peft_model_state_dict
from quantized import HERE, inputs, predict, with_adapter
from safetensors.torch import load_file, save_file

VECTUNE = os.environ.get("VECTUNE", str(HERE.parent.parent / "vectune"))
failures = 0


def vectune(*arguments):
    subprocess.run([VECTUNE, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def check(name, error, limit):
    global failures
    passed = error <= limit
    failures += not passed
    print(f"{'ok  ' if passed else 'FAIL'} {name}: {error:.3g} (at most {limit:g})")


def relative(actual, expected):
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def step(model, inputs, folder, adapter=None):
    out = folder / "prediction.safetensors"
    adapters = ["--adapter", adapter] if adapter else []
    vectune("flux", "step", "--model", model, *adapters, "--inputs", inputs, "--out", out, "--force")
    return load_file(out)["prediction"]


def tuned(folder, wide):
    golden = load_file(HERE / "dev-gradients.safetensors")
    rows = {
        key: golden[key]
        for key in ("latents", "encoder_hidden_states", "pooled_projections", "img_ids", "txt_ids")
    }
    rows["control"] = golden["condition"]
    save_file(rows, folder / "rows.safetensors")
    for name, targets in (("all", []), ("some", ["--targets", "x_embedder,attn.to_q,proj_out"])):
        out = folder / f"tuned-{name}"
        vectune(
            "tune", "--model", HERE / "dev", "--data", folder / "rows.safetensors", "--method", "lora",
            "--rank", 4, "--alpha", 6, "--steps", 12, "--lr", 1e-2, "--batch-size", 2, "--out", out, *targets,
        )  # fmt: skip
        file = out / "pytorch_lora_weights.safetensors"
        transformer = FluxTransformer2DModel.from_pretrained(HERE / "dev").eval()
        pipe = with_adapter(transformer, file, 1.0)
        stored = {key.removeprefix("transformer.").rsplit(".lora_", 1)[0] for key in load_file(file)}
        loaded = {
            module.removesuffix(".lora_A.control")
            for module, _ in transformer.named_modules()
            if module.endswith(".lora_A.control")
        }
        check(f"tuned, {name}: layers that differ", len(stored ^ loaded), 0)
        ours = step(HERE / "dev", HERE / "dev-control.safetensors", folder, out)
        base = predict(FluxTransformer2DModel.from_pretrained(HERE / "dev").eval(), plain(wide))
        theirs = predict(transformer, wide)
        check(f"tuned, {name}: prediction", relative(ours, theirs), 1e-4)
        check(f"tuned, {name}: the adapter does something", 1e-3 / relative(theirs, base), 1)
        again = folder / f"saved-{name}"
        pipe.save_lora_weights(again, transformer_lora_layers=peft_state(transformer))
        ours = step(HERE / "dev", HERE / "dev-control.safetensors", folder, again)
        check(f"tuned, {name}: saved by diffusers, read again", relative(ours, theirs), 1e-4)


def peft_state(transformer):
    state = get_peft_model_state_dict(transformer, adapter_name="control")
    # diffusers stores no alpha without its metadata: the scaling goes into lora_B.
    scaling = {
        name: module.scaling["control"] for name, module in transformer.named_modules() if hasattr(module, "scaling")
    }
    return {
        key: value * scaling[key.rsplit(".lora_", 1)[0]] if ".lora_B." in key else value
        for key, value in state.items()
    }


def plain(wide):
    return {**wide, "hidden_states": wide["hidden_states"][..., :16]}


def merged(folder, wide):
    vectune("merge", "--model", HERE / "dev", "--adapter", HERE / "control.safetensors", "--out", folder / "merged")
    transformer = FluxTransformer2DModel.from_pretrained(folder / "merged").eval()
    check("merged: in_channels", abs(transformer.config.in_channels - 32), 0)
    golden = load_file(HERE / "dev-control.safetensors")
    check("merged: prediction", relative(predict(transformer, wide), golden["control_1.0"]), 1e-4)


def quantized(folder, wide):
    of_libraries.use_the_cpu()
    control = HERE / "control.safetensors"
    for method, extra in (("nf4", []), ("nf4", ["--double-quant"]), ("fp4", []), ("int8", [])):
        name = method + "".join(extra)
        out = folder / name
        vectune("quantize", "--model", HERE / "dev", "--out", out, "--method", method, *extra)
        transformer = of_libraries.load(out)
        layers = [module for module in transformer.modules() if isinstance(module, torch.nn.Linear)]
        check(f"{name}: layers that are not quantized", sum(type(module) is torch.nn.Linear for module in layers), 0)
        ours = step(out, HERE / "dev-plain.safetensors", folder)
        check(f"{name}: prediction", relative(predict(transformer, inputs("dev-plain.safetensors")), ours), 1e-4)
        with_adapter(transformer, control, 0.85)
        dense = type(transformer.x_embedder.base_layer) is torch.nn.Linear
        check(f"{name}: the widened input is quantized in diffusers", not dense, 0)
        ours = step(out, HERE / "dev-control.safetensors", folder, f"{control}=0.85")
        check(f"{name}: prediction with a Control LoRA", relative(predict(transformer, wide), ours), 1e-4)
        for form in ([], ["--dense-input"]):
            into = folder / (name + "-merged" + "".join(form))
            vectune("merge", "--model", out, "--adapter", control, "--out", into, "--requantize", *form)
            merged_again = of_libraries.load(into)
            ours = step(into, HERE / "dev-control.safetensors", folder)
            label = f"{name}: merged, quantized again {''.join(form)}"
            check(f"{label}: prediction", relative(predict(merged_again, wide), ours), 1e-4)


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        wide = inputs("dev-control.safetensors")
        tuned(folder, wide)
        merged(folder, wide)
        quantized(folder, wide)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
