"""Goldens of diffusers' FluxTransformer2DModel: tiny random models, Control LoRAs, predictions, gradients.

Writes, beside this script:
  dev/, schnell/            transformer directories as diffusers saves them (with and without guidance)
  *.safetensors             adapters in every key style, inputs and what diffusers makes of them

Run: python test-data/flux/make_flux.py
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "common"))

import golden
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxControlPipeline, FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_kohya_flux_lora_to_diffusers,
    _convert_xlabs_flux_lora_to_diffusers,
)

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = "test-data/flux/make_flux.py"
PACKAGES = ("diffusers", "peft", "transformers", "safetensors")
CHANNELS, HEADS, HEAD_DIM, JOINT, POOLED = 16, 2, 16, 24, 20
INNER = HEADS * HEAD_DIM
TEXT, HEIGHT, WIDTH = 5, 3, 4
IMAGE = HEIGHT * WIDTH
RANK = 3


def model(name, seed, layers, single, guidance, dtype):
    torch.manual_seed(seed)
    made = FluxTransformer2DModel(
        in_channels=CHANNELS,
        num_layers=layers,
        num_single_layers=single,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS,
        joint_attention_dim=JOINT,
        pooled_projection_dim=POOLED,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            if "norm_" in key and key.endswith("weight") and parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(1.5)
    made = made.to(dtype)
    made.save_pretrained(HERE / name, max_shard_size="400KB" if name == "dev" else "10GB")
    for file in (HERE / name).iterdir():
        file.chmod(0o644)
    return FluxTransformer2DModel.from_pretrained(HERE / name, torch_dtype=torch.float32).eval()


def inputs(seed, channels, guidance, batch=2):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    ids = torch.zeros(HEIGHT, WIDTH, 3)
    ids[..., 1] += torch.arange(HEIGHT)[:, None]
    ids[..., 2] += torch.arange(WIDTH)[None, :]
    made = {
        "hidden_states": randn(batch, IMAGE, channels),
        "encoder_hidden_states": randn(batch, TEXT, JOINT),
        "pooled_projections": randn(batch, POOLED),
        "timestep": torch.tensor([0.731, 0.25])[:batch],
        "img_ids": ids.reshape(IMAGE, 3),
        "txt_ids": torch.zeros(TEXT, 3),
    }
    if guidance:
        made["guidance"] = torch.tensor([3.5, 30.0])[:batch]
    return made


def predict(transformer, given):
    with torch.no_grad():
        return transformer(**given, return_dict=False)[0]


def pipeline(transformer):
    return FluxControlPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )


def linears(transformer):
    return {name: module for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}


def bfl_control(transformer, seed):
    """A Control LoRA with the keys of the original release, for the tiny shapes."""
    generator = torch.Generator().manual_seed(seed)
    made = {}

    def layer(stem, inputs, outputs, rank=RANK):
        made[f"{stem}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator) / inputs**0.5
        made[f"{stem}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator) * 0.2
        made[f"{stem}.lora_B.bias"] = torch.randn(outputs, generator=generator) * 0.1

    def norm(stem):
        made[f"{stem}.scale"] = 1 + torch.randn(HEAD_DIM, generator=generator) * 0.3

    layer("img_in", 2 * CHANNELS, INNER)
    layer("txt_in", JOINT, INNER)
    for stem, width in (("time_in", 256), ("guidance_in", 256), ("vector_in", POOLED)):
        layer(f"{stem}.in_layer", width, INNER)
        layer(f"{stem}.out_layer", INNER, INNER)
    for i in range(transformer.config.num_layers):
        for stream in ("img", "txt"):
            block = f"double_blocks.{i}.{stream}"
            layer(f"{block}_mod.lin", INNER, 6 * INNER)
            layer(f"{block}_attn.qkv", INNER, 3 * INNER)
            layer(f"{block}_attn.proj", INNER, INNER)
            layer(f"{block}_mlp.0", INNER, 4 * INNER)
            layer(f"{block}_mlp.2", 4 * INNER, INNER)
            norm(f"{block}_attn.norm.query_norm")
            norm(f"{block}_attn.norm.key_norm")
    for i in range(transformer.config.num_single_layers):
        block = f"single_blocks.{i}"
        layer(f"{block}.modulation.lin", INNER, 3 * INNER)
        layer(f"{block}.linear1", INNER, 7 * INNER)
        layer(f"{block}.linear2", 5 * INNER, INNER)
        norm(f"{block}.norm.query_norm")
        norm(f"{block}.norm.key_norm")
    layer("final_layer.adaLN_modulation.1", INNER, 2 * INNER)
    layer("final_layer.linear", INNER, CHANNELS, rank=2)
    return made


STEMS = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
}
DOUBLE = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
SINGLE = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
}
NORMS = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
}


def split_control(bfl):
    """The same adapter with the module names of diffusers. The converter of diffusers knows one model size only, and it
    swaps the halves of the last modulation in lora_A too; here the swap is in lora_B and its bias, as the mathematics
    asks."""
    made = {}
    for key, value in bfl.items():
        if key.startswith("double_blocks."):
            _, i, rest = key.split(".", 2)
            prefix, table = f"transformer.transformer_blocks.{i}.", DOUBLE
        elif key.startswith("single_blocks."):
            _, i, rest = key.split(".", 2)
            prefix, table = f"transformer.single_transformer_blocks.{i}.", SINGLE
        else:
            prefix, table, rest = "transformer.", STEMS, key
        if rest in NORMS:
            made[prefix + NORMS[rest]] = value
            continue
        stem, tail = rest.split(".lora_")
        if stem == "final_layer.adaLN_modulation.1":
            swapped = value if tail == "A.weight" else torch.cat([value[INNER:], value[:INNER]])
            made[f"transformer.norm_out.linear.lora_{tail}"] = swapped
            continue
        targets = table[stem]
        if tail == "A.weight":
            parts = [value] * len(targets)
        else:
            sizes = [4 * INNER if name == "proj_mlp" else value.shape[0] for name in targets]
            if len(targets) > 1:
                sizes = [4 * INNER if name == "proj_mlp" else INNER for name in targets]
            parts = value.split(sizes)
        for name, part in zip(targets, parts):
            made[f"{prefix}{name}.lora_{tail}"] = part.clone()
    return made


def regular(seed):
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, width, out in (
        ("x_embedder", CHANNELS, INNER),
        ("transformer_blocks.0.attn.to_q", INNER, INNER),
        ("transformer_blocks.1.ff.net.2", 4 * INNER, INNER),
        ("single_transformer_blocks.1.proj_out", 5 * INNER, INNER),
        ("single_transformer_blocks.0.attn.to_v", INNER, INNER),
    ):
        made[f"transformer.{name}.lora_A.weight"] = torch.randn(2, width, generator=generator) / width**0.5
        made[f"transformer.{name}.lora_B.weight"] = torch.randn(out, 2, generator=generator) * 0.3
        made[f"transformer.{name}.alpha"] = torch.tensor(1.0)
    return made


def kohya(seed, prefix, dotted):
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for index, (name, width, out) in enumerate(
        (
            ("double_blocks.0.img_attn.qkv", INNER, 3 * INNER),
            ("double_blocks.1.txt_attn.qkv", INNER, 3 * INNER),
            ("double_blocks.0.txt_attn.proj", INNER, INNER),
            ("double_blocks.1.img_mlp.0", INNER, 4 * INNER),
            ("double_blocks.1.txt_mod.lin", INNER, 6 * INNER),
            ("single_blocks.0.linear2", 5 * INNER, INNER),
            ("single_blocks.1.modulation.lin", INNER, 3 * INNER),
        )
    ):
        key = prefix + (name if dotted else name.replace(".", "_"))
        rank = 3
        made[f"{key}.lora_down.weight"] = torch.randn(rank, width, generator=generator) / width**0.5
        up = torch.randn(out, rank, generator=generator) * 0.3
        if index == 1:  # block-diagonal: each third of the rows has a rank of its own
            up = up * torch.block_diag(*[torch.ones(INNER, 1)] * 3)
        made[f"{key}.lora_up.weight"] = up
        made[f"{key}.alpha"] = torch.tensor(0.5 * (index + 1))
    return made


def xlabs(seed):
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, width, out in (
        ("double_blocks.0.processor.qkv_lora1", INNER, 3 * INNER),
        ("double_blocks.1.processor.qkv_lora2", INNER, 3 * INNER),
        ("double_blocks.0.processor.proj_lora1", INNER, INNER),
        ("double_blocks.1.processor.proj_lora2", INNER, INNER),
        ("single_blocks.0.processor.qkv_lora", INNER, 3 * INNER),
    ):
        made[f"{name}.down.weight"] = torch.randn(2, width, generator=generator) / width**0.5
        made[f"{name}.up.weight"] = torch.randn(out, 2, generator=generator) * 0.3
    return made


def write(name, tensors, **metadata):
    golden.write_tensors(HERE / name, tensors, SCRIPT, PACKAGES, **metadata)


def gradients(control):
    """Flow-matching loss of the base with the Control LoRA and its gradients, for all factors and biases."""
    transformer = FluxTransformer2DModel.from_pretrained(HERE / "dev")
    pipe = pipeline(transformer)
    pipe.load_lora_weights(dict(control), adapter_name="control")
    given = inputs(21, CHANNELS, True)
    # One of torch's 128 frequencies is an ulp off; times 30 000 that would show in the fourth digit of a gradient.
    given["guidance"] = torch.tensor([3.5, 1.5])
    generator = torch.Generator().manual_seed(22)
    latents = given.pop("hidden_states")
    condition = torch.randn(latents.shape, generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    sigma = given["timestep"][:, None, None]
    noisy = (1 - sigma) * latents + sigma * noise
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_("lora_" in name)
    prediction = transformer(
        hidden_states=torch.cat([noisy, condition], dim=2), **given, return_dict=False
    )[0]
    loss = ((prediction - (noise - latents)) ** 2).mean()
    loss.backward()
    out = {"loss": loss, "latents": latents, "condition": condition, "noise": noise, "prediction": prediction, **given}
    for name, parameter in transformer.named_parameters():
        if parameter.grad is not None:
            out["grad." + name.replace(".control.", ".")] = parameter.grad
    return out


def main():
    golden.deterministic(7)
    dev = model("dev", 1, 2, 2, True, torch.float32)
    schnell = model("schnell", 2, 1, 1, False, torch.bfloat16)

    plain = inputs(11, CHANNELS, True)
    write("dev-plain.safetensors", {**plain, "prediction": predict(dev, plain)})
    fast = inputs(12, CHANNELS, False)
    write("schnell-plain.safetensors", {**fast, "prediction": predict(schnell, fast)})

    bfl = bfl_control(dev, 31)
    control = split_control(bfl)
    usual = regular(32)
    write("control-bfl.safetensors", bfl)
    write("control.safetensors", control)
    write("regular.safetensors", usual)
    write("regular-peft.safetensors", {
        key.replace("transformer.", "base_model.model.", 1): value * (0.5 if "lora_B" in key else 1)
        for key, value in usual.items()
        if not key.endswith("alpha")
    })
    sd_scripts = kohya(33, "lora_unet_", False)
    comfy = kohya(33, "diffusion_model.", True)
    write("kohya.safetensors", sd_scripts)
    write("comfy.safetensors", comfy)
    processors = xlabs(34)
    write("xlabs.safetensors", processors)

    wide = inputs(13, 2 * CHANNELS, True)
    results = dict(wide)
    pipe = pipeline(dev)
    before = {key: value.clone() for key, value in dev.state_dict().items()}
    pipe.load_lora_weights(dict(control), adapter_name="control")
    assert dev.config.in_channels == 2 * CHANNELS
    results["control_1.0"] = predict(dev, wide)
    results["x_embedder"] = dev.x_embedder.base_layer.weight.detach().clone()
    pipe.set_adapters("control", 0.85)
    results["control_0.85"] = predict(dev, wide)
    pipe.set_adapters("control", 0.0)
    results["control_0.0"] = predict(dev, wide)
    pipe.load_lora_weights(dict(usual), adapter_name="regular")
    pipe.set_adapters(["control", "regular"], [0.85, 0.6])
    results["control_0.85_regular_0.6"] = predict(dev, wide)
    pipe.set_adapters(["regular"], [1.0])
    results["regular_wide"] = predict(dev, wide)
    pipe.set_adapters(["control", "regular"], [0.85, 0.6])
    pipe.fuse_lora(adapter_names=["control", "regular"])
    fused = {
        key.replace(".base_layer", ""): value
        for key, value in dev.state_dict().items()
        if "lora_" not in key
    }
    write("fused.safetensors", {
        key: fused[key]
        for key in (
            "x_embedder.weight",
            "x_embedder.bias",
            "transformer_blocks.0.attn.to_q.weight",
            "transformer_blocks.0.attn.to_q.bias",
            "transformer_blocks.1.attn.norm_added_k.weight",
            "transformer_blocks.1.ff.net.2.weight",
            "single_transformer_blocks.1.proj_out.weight",
            "single_transformer_blocks.1.norm.linear.bias",
            "norm_out.linear.weight",
            "proj_out.weight",
        )
    })
    pipe.unfuse_lora()
    pipe.unload_lora_weights(reset_to_overwritten_params=True)
    assert dev.config.in_channels == CHANNELS
    after = dev.state_dict()
    assert before.keys() == after.keys()
    results["unloaded"] = predict(dev, plain)
    write("dev-control.safetensors", results)

    styles = {}
    for name, tensors, convert in (
        ("regular", dict(usual), None),
        ("kohya", dict(sd_scripts), _convert_kohya_flux_lora_to_diffusers),
        ("comfy", dict(comfy), _convert_kohya_flux_lora_to_diffusers),
        ("xlabs", dict(processors), _convert_xlabs_flux_lora_to_diffusers),
    ):
        fresh = FluxTransformer2DModel.from_pretrained(HERE / "dev").eval()
        styled = pipeline(fresh)
        styled.load_lora_weights(convert(tensors) if convert else tensors, adapter_name=name)
        styles[name] = predict(fresh, plain)
    write("dev-styles.safetensors", styles)

    write("dev-gradients.safetensors", gradients(control))


if __name__ == "__main__":
    main()
