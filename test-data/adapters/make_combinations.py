"""What the real peft library computes beside single adapters: combinations, rank allocation, LoftQ and EVA starts.

    python make_combinations.py
"""

import pathlib
import shutil
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
import golden

import bitsandbytes.functional as functional
import peft
import torch
from peft import get_peft_model
from peft.tuners.lora.eva import get_eva_state_dict
from peft.utils.loftq_utils import _low_rank_decomposition
from torch import nn
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")
PACKAGES = ["peft", "safetensors", "transformers", "bitsandbytes"]
# combination type -> options; dare keeps everything, as its masks are torch's
COMBINATIONS = {
    "cat": {},
    "linear": {},
    "svd": dict(svd_rank=3),
    "ties": dict(density=0.5),
    "ties-frequency": dict(density=0.5, majority_sign_method="frequency"),
    "magnitude_prune": dict(density=0.5),
    "dare_linear": dict(density=1.0),
    "dare_ties": dict(density=1.0),
    "ties_svd": dict(density=0.5, svd_rank=3),
    "magnitude_prune_svd": dict(density=0.5, svd_rank=3),
    "dare_linear_svd": dict(density=1.0, svd_rank=3),
    "dare_ties_svd": dict(density=1.0, svd_rank=3),
}
WEIGHTS = [0.7, 0.4]


class Net(nn.Module):
    def __init__(self, count=1):
        super().__init__()
        self.q_proj = nn.ModuleList([nn.Linear(10, 14) for _ in range(count)])

    def forward(self, x):
        return sum(layer(x) for layer in self.q_proj)


def write(name, tensors, **metadata):
    golden.write_tensors(HERE / "combinations" / f"{name}.safetensors", tensors, "make_combinations.py", PACKAGES, **metadata)


def lora(alpha):
    return peft.LoraConfig(r=3, lora_alpha=alpha, target_modules=["q_proj.0"])


def make_combinations():
    model = get_peft_model(Net(), lora(6), adapter_name="first")
    model.add_adapter("second", lora(3))
    layer = model.base_model.model.q_proj[0]
    tensors = {"weight": layer.base_layer.weight.data.clone()}
    for name in ("first", "second"):
        layer.lora_A[name].weight.data = torch.randn(3, 10)
        layer.lora_B[name].weight.data = torch.randn(14, 3)
        tensors[f"{name}.A"] = layer.lora_A[name].weight.data.clone()
        tensors[f"{name}.B"] = layer.lora_B[name].weight.data.clone()
    for name, options in COMBINATIONS.items():
        kind = name.partition("-")[0]
        model.add_weighted_adapter(["first", "second"], WEIGHTS, name.replace("-", "_"), combination_type=kind, **options)
        combined = name.replace("-", "_")
        tensors[f"delta.{name}"] = layer.get_delta_weight(combined).detach().clone()
    write("weighted", tensors, weights=str(WEIGHTS))


def make_allocation():
    steps = 12
    config = peft.AdaLoraConfig(
        init_r=5, target_r=2, total_step=steps, tinit=2, tfinal=2, deltaT=2, target_modules=["q_proj.0", "q_proj.1"]
    )
    model = get_peft_model(Net(2), config)
    tensors = {}
    parameters = {n: p for n, p in model.named_parameters() if "lora_" in n}
    for step in range(steps):
        for name, parameter in parameters.items():
            layer, kind = name.split("q_proj.")[1][0], name.split("lora_")[1][0]
            if step == 0 or kind != "E":
                parameter.data = torch.randn_like(parameter)
            else:
                parameter.data += 0.3 * torch.randn_like(parameter)
            parameter.grad = torch.randn_like(parameter) * (3 if layer == "1" else 1)
            tensors[f"{step}.{layer}.{kind}.value"] = parameter.data.clone()
            tensors[f"{step}.{layer}.{kind}.gradient"] = parameter.grad.clone()
        model.base_model.update_and_allocate(step)
        for name, parameter in parameters.items():
            if "lora_E" in name:
                tensors[f"{step}.{name.split('q_proj.')[1][0]}.E.after"] = parameter.data.clone()
    write("allocation", tensors, total_step=str(steps))


def make_loftq():
    weight = torch.randn(24, 64)
    rank = 4
    # loftq_init itself asks for a GPU; this is its one iteration
    quantized = functional.dequantize_4bit(*functional.quantize_4bit(weight, blocksize=64, quant_type="nf4"))
    parts = _low_rank_decomposition(weight - quantized, reduced_rank=rank)
    tensors = {"weight": weight, "quantized": quantized, "product": parts["L"] @ parts["R"]}
    write("loftq", tensors, rank=str(rank))


def make_eva():
    """Ranks and directions of EVA on a tiny model, from eight batches of random tokens."""
    base = AutoModelForCausalLM.from_pretrained(golden.ROOT / "models/llama", dtype=torch.float32, attn_implementation="eager")
    rank = 4
    config = peft.LoraConfig(
        r=rank, lora_alpha=rank, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=2.0, use_label_mask=False),
    )
    ids = torch.randint(3, base.config.vocab_size, (8, 4, 24))
    loader = [{"input_ids": batch, "attention_mask": torch.ones_like(batch)} for batch in ids]
    state = get_eva_state_dict(base, loader, peft_config=config, show_progress_bar=False)
    tensors = {"ids": ids.view(-1, 24)}
    for name, directions in state.items():
        tensors[f"directions.{name}"] = directions.clone()
    write("eva", tensors, rank=str(rank), base="models/llama")


if __name__ == "__main__":
    golden.deterministic(11)
    shutil.rmtree(HERE / "combinations", ignore_errors=True)
    (HERE / "combinations").mkdir()
    make_combinations()
    make_allocation()
    make_loftq()
    make_eva()
