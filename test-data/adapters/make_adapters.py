"""Layer-level goldens of every adapter kind of the real peft library.

    python make_adapters.py [CASE ...]

For each case: one linear layer with an adapter whose trainable parameters were moved away from their start, the adapter
directory as peft saves it, the output, all gradients, the parameters after one SGD step, the losses of five AdamW
steps, and the merged weight. The loss is mean((y - target)^2); everything is float32. Bases: `f32`; `bf16` and `nf4`
and `hqq` hold the weight that the stored format stands for, as float32.
"""

import pathlib
import shutil
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
import golden

import peft
import torch
from peft import get_peft_model, get_peft_model_state_dict
from torch import nn

warnings.filterwarnings("ignore")
PACKAGES = ["peft", "safetensors", "hqq", "bitsandbytes"]
MODULE = "model.layers.0.self_attn.q_proj"
TARGET = dict(target_modules=["q_proj"])
STEPS, ADAMW_LR, SGD_LR = 5, 1e-2, 0.05


def lora(**options):
    return peft.LoraConfig(**{**dict(r=4, lora_alpha=8), **TARGET, **options})


def ia3(**options):
    return peft.IA3Config(**{**TARGET, "feedforward_modules": [], **options})


# case: (config, base format, (inFeatures, outFeatures), has a bias, how far parameters are moved)
CASES = {
    "lora": (lambda: lora(), "f32", (24, 40), True, 0.2),
    "lora-bf16": (lambda: lora(), "bf16", (24, 40), True, 0.2),
    "lora-nf4": (lambda: lora(), "nf4", (64, 32), True, 0.2),
    "lora-hqq": (lambda: lora(), "hqq", (64, 32), True, 0.2),
    "lora-rslora-bias": (lambda: lora(use_rslora=True, lora_bias=True), "f32", (24, 40), True, 0.2),
    "lora-bias-only": (lambda: lora(bias="lora_only"), "f32", (24, 40), True, 0.2),
    "hra-bias-only": (lambda: peft.HRAConfig(r=4, bias="hra_only", **TARGET), "f32", (24, 40), True, 0.2),
    "lora-gaussian": (lambda: lora(init_lora_weights="gaussian"), "f32", (24, 40), False, 0.2),
    "lora-orthogonal": (lambda: lora(init_lora_weights="orthogonal"), "f32", (24, 40), False, 0.2),
    "lora-random": (lambda: lora(init_lora_weights=False), "f32", (24, 40), False, 0.2),
    "lora-mica": (lambda: lora(init_lora_weights="mica"), "f32", (24, 40), False, 0.2),
    "pissa": (lambda: lora(init_lora_weights="pissa"), "f32", (24, 40), True, 0.05),
    "pissa-wide": (lambda: lora(init_lora_weights="pissa", lora_alpha=2), "f32", (40, 24), False, 0.05),
    "olora": (lambda: lora(init_lora_weights="olora"), "f32", (24, 40), True, 0.05),
    "dora": (lambda: lora(use_dora=True), "f32", (24, 40), True, 0.2),
    "dora-bf16": (lambda: lora(use_dora=True), "bf16", (24, 40), True, 0.2),
    "dora-nf4": (lambda: lora(use_dora=True), "nf4", (64, 32), True, 0.2),
    "dora-hqq": (lambda: lora(use_dora=True), "hqq", (64, 32), True, 0.2),
    "delora": (lambda: peft.DeloraConfig(r=4, delora_lambda=3, **TARGET), "f32", (24, 40), True, 0.2),
    "delora-bf16": (lambda: peft.DeloraConfig(r=4, delora_lambda=3, **TARGET), "bf16", (24, 40), True, 0.2),
    "delora-random": (lambda: peft.DeloraConfig(r=4, init_weights=False, **TARGET), "f32", (24, 40), False, 0.1),
    "hra": (lambda: peft.HRAConfig(r=4, **TARGET), "f32", (24, 40), True, 0.2),
    "hra-bf16": (lambda: peft.HRAConfig(r=4, **TARGET), "bf16", (24, 40), True, 0.2),
    "hra-gs": (lambda: peft.HRAConfig(r=4, apply_GS=True, init_weights=False, **TARGET), "f32", (24, 40), True, 0.0),
    "ia3": (lambda: ia3(), "f32", (24, 40), True, 0.2),
    "ia3-bf16": (lambda: ia3(), "bf16", (24, 40), True, 0.2),
    "ia3-ff": (lambda: ia3(feedforward_modules=["q_proj"]), "f32", (24, 40), True, 0.2),
    "road-1": (lambda: peft.RoadConfig(variant="road_1", group_size=8, **TARGET), "f32", (24, 40), True, 0.2),
    "road-2": (lambda: peft.RoadConfig(variant="road_2", group_size=8, **TARGET), "f32", (24, 40), True, 0.2),
    "road-4": (lambda: peft.RoadConfig(variant="road_4", group_size=8, **TARGET), "f32", (24, 40), False, 0.2),
    "oft": (
        lambda: peft.OFTConfig(oft_block_size=4, r=0, use_cayley_neumann=True, **TARGET),
        "f32", (24, 40), True, 0.1,
    ),
    "oft-exact": (
        lambda: peft.OFTConfig(oft_block_size=6, r=0, use_cayley_neumann=False, **TARGET),
        "f32", (24, 40), True, 0.2,
    ),
    "oft-shared": (
        lambda: peft.OFTConfig(r=4, oft_block_size=0, block_share=True, use_cayley_neumann=False, **TARGET),
        "f32", (24, 40), False, 0.2,
    ),
    "miss": (lambda: peft.MissConfig(r=4, **TARGET), "f32", (24, 40), True, 0.2),
    "miss-odd": (lambda: peft.MissConfig(r=5, **TARGET), "f32", (24, 40), False, 0.2),
    "miss-mini": (
        lambda: peft.MissConfig(r=4, mini_r=8, init_weights="mini", **TARGET), "f32", (24, 40), True, 0.2,
    ),
    "miss-bat": (lambda: peft.MissConfig(r=4, init_weights="bat", **TARGET), "f32", (24, 40), True, 0.1),
    "vera": (lambda: peft.VeraConfig(r=8, projection_prng_key=3, **TARGET), "f32", (24, 40), True, 0.2),
    "adalora": (
        lambda: peft.AdaLoraConfig(init_r=6, target_r=3, lora_alpha=12, total_step=20, tinit=2, tfinal=2, **TARGET),
        "f32", (24, 40), True, 0.2,
    ),
    "loha": (lambda: peft.LoHaConfig(r=4, alpha=8, **TARGET), "f32", (24, 40), True, 0.2),
    "loha-small": (lambda: peft.LoHaConfig(r=2, alpha=8, **TARGET), "f32", (24, 40), True, 0.2),
    "lokr": (lambda: peft.LoKrConfig(r=2, alpha=4, **TARGET), "f32", (24, 40), True, 0.2),
    "lokr-both": (
        lambda: peft.LoKrConfig(r=2, alpha=4, decompose_both=True, **TARGET), "f32", (64, 64), False, 0.2,
    ),
    "gralora": (lambda: peft.GraloraConfig(r=8, gralora_k=2, alpha=16, **TARGET), "f32", (24, 40), True, 0.2),
    "gralora-hybrid": (
        lambda: peft.GraloraConfig(r=8, hybrid_r=2, gralora_k=2, alpha=16, **TARGET), "f32", (24, 40), True, 0.2,
    ),
}


# Every kind on every base. bitsandbytes dequantizes blocks that straddle rows wrongly on the CPU, so rows are a block.
for _kind in ("pissa", "olora", "delora", "hra", "ia3", "road-1", "oft", "miss", "vera", "adalora", "loha", "lokr", "gralora"):
    for _base in ("bf16", "nf4", "hqq"):
        _config, _, _, _bias, _distance = CASES[_kind]
        CASES.setdefault(f"{_kind}-{_base}", (_config, _base, (64 if _base == "nf4" else 32, 24), _bias, _distance))


def stored_weight(weight, base):
    """The float32 values that the stored format stands for, and the tensors that a checkpoint would hold."""
    if base == "f32":
        return weight, {}
    if base == "bf16":
        return weight.bfloat16().float(), {"weight.bf16": weight.bfloat16()}
    if base == "nf4":
        import bitsandbytes.functional as functional

        packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
        stored = {"nf4.weight": packed, **{f"nf4.weight.{key}": value for key, value in state.as_dict(packed=True).items()}}
        return functional.dequantize_4bit(packed, state), stored
    from hqq.core.quantize import BaseQuantizeConfig, HQQBackend, HQQLinear

    HQQLinear.set_backend(HQQBackend.PYTORCH)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.clone()
    config = BaseQuantizeConfig(nbits=4, group_size=32, axis=1)
    layer = HQQLinear(linear, config, compute_dtype=torch.float32, device="cpu", del_orig=False)
    stored = {f"hqq.{key}": value for key, value in layer.state_dict().items()}
    return layer.dequantize().detach().clone(), stored


class Attention(nn.Module):
    def __init__(self, in_features, out_features, bias):
        super().__init__()
        self.q_proj = nn.Linear(in_features, out_features, bias=bias)


class Layer(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.self_attn = Attention(*sizes)


class Inner(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList([Layer(*sizes)])


class Net(nn.Module):
    """One linear layer at the path that a decoder gives it."""

    def __init__(self, *sizes):
        super().__init__()
        self.model = Inner(*sizes)

    def forward(self, x):
        return self.model.layers[0].self_attn.q_proj(x)


def trainable(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def stored_key(name, stored):
    key = name.replace(".default", "")
    if key not in stored:
        key = key.removesuffix(".weight")
    if key not in stored:
        raise KeyError(f"{name} is not saved; saved are {list(stored)}")
    return key


def loss_of(model, x, target):
    return ((model(x) - target) ** 2).mean()


def make(name):
    config, base, (in_features, out_features), bias, distance = CASES[name]
    golden.deterministic(sum(name.encode()))
    net = Net(in_features, out_features, bias)
    linear = net.get_submodule(MODULE)
    weight, stored_base = stored_weight(linear.weight.data.clone(), base)
    linear.weight.data = weight.clone()
    original_bias = linear.bias.data.clone() if bias else None
    x = torch.randn(10, in_features)
    target = torch.randn(10, out_features)
    model = get_peft_model(net, config())
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter += distance * torch.randn_like(parameter)
    directory = HERE / "adapters" / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)

    tensors = {"weight": weight, "x": x, "target": target, **stored_base}
    if bias:
        tensors["bias"] = original_bias
    stored = get_peft_model_state_dict(model)
    start = {key: parameter.detach().clone() for key, parameter in trainable(model).items()}
    model.train()
    x.requires_grad_(True)
    y = model(x)
    tensors["y"] = y
    loss_of(model, x, target).backward()
    tensors["gradient.x"] = x.grad.clone()
    x.requires_grad_(False)
    with torch.no_grad():
        for key, parameter in trainable(model).items():
            saved = stored_key(key, stored)
            tensors["gradient." + saved] = parameter.grad.clone()
            tensors["sgd." + saved] = parameter - SGD_LR * parameter.grad
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=ADAMW_LR, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, x, target)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    tensors["losses"] = torch.tensor(losses)
    with torch.no_grad():
        for key, parameter in trainable(model).items():
            parameter.copy_(start[key])
        merged = model.merge_and_unload().get_submodule(MODULE)
        tensors["merged.weight"] = merged.weight.data
        if bias:
            tensors["merged.bias"] = merged.bias.data
    golden.write_tensors(
        HERE / "goldens" / f"{name}.safetensors",
        tensors,
        "make_adapters.py",
        PACKAGES,
        base=base,
        adamw_lr=str(ADAMW_LR),
        sgd_lr=str(SGD_LR),
    )


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        try:
            make(case)
        except Exception as error:
            if sys.argv[1:]:
                raise
            print(f"{case}: {type(error).__name__}: {error}", file=sys.stderr)
