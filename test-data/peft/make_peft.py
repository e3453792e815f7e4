"""Adapters of the real peft library and what training with them computes.

    python make_peft.py [CASE ...]

For each case: an adapter with non-zero B (so that every gradient is non-zero) saved by peft, logits, the losses of five
AdamW steps, the parameters after one SGD step from the same start, gradients, and merged weights. float32, eager
attention, no dropout.
"""

import json
import pathlib
import random
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE.parent / "tiny-llama" / "scripts"))
import golden
import hqq_base
import language

import torch
import peft
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

PACKAGES = ["transformers", "peft", "hqq", "safetensors"]
STEPS, ROWS, LENGTH = 5, 3, 24
ADAMW_LR, SGD_LR = 1e-3, 0.1

PATTERNS = dict(
    r=8,
    lora_alpha=16,
    use_rslora=True,
    target_modules=["q_proj", "v_proj"],
    rank_pattern={"layers.1.self_attn.q_proj": 4, r"layers\.[23]\.self_attn\.v_proj": 2},
    alpha_pattern={"layers.0.self_attn.v_proj": 32, "layers.1.self_attn.q_proj": 8},
)


def all_linears(rank, **options):
    return dict(r=rank, lora_alpha=2 * rank, target_modules=list(hqq_base.LINEARS), **options)


# adapter: (model directory, options)
ADAPTERS = {
    "tiny-llama-lora": ("tiny-llama", all_linears(8)),
    "tiny-llama-dora": ("tiny-llama", all_linears(8, use_dora=True)),
    "tiny-llama-patterns": ("tiny-llama", PATTERNS),
    "llama-lora": ("models/llama", all_linears(8)),
    "llama-dora": ("models/llama", all_linears(8, use_dora=True)),
    "llama-bias-dora": ("models/llama-bias", all_linears(4, use_dora=True)),
    "llama-rope-llama3-lora": ("models/llama-rope-llama3", all_linears(4)),
    "llama-rope-linear-lora": ("models/llama-rope-linear", all_linears(2)),
    "qwen2-lora": ("models/qwen2", all_linears(4)),
    "qwen3-dora": ("models/qwen3", all_linears(4, use_dora=True)),
    "llama-ln": ("models/llama", peft.LNTuningConfig(task_type="CAUSAL_LM")),
    "tiny-llama-tokens": (
        "tiny-llama", peft.TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=list(range(3, 40))),
    ),
    "qwen3-tokens": (
        "models/qwen3", dict(r=2, target_modules=["q_proj"], trainable_token_indices=list(range(3, 60))),
    ),
    "qwen3-norms": ("models/qwen3", dict(r=2, target_modules=["v_proj"], modules_to_save=["norm"])),
    "llama-bias-embed": ("models/llama-bias", dict(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])),
    "llama-bias-all": ("models/llama-bias", dict(r=2, target_modules=["q_proj", "down_proj"], bias="all")),
}

# case: (adapter, base is HQQ, layers whose parameters are kept, layers whose gradients are kept, merged modules)
TINY_MERGED = ("layers.0.self_attn.k_proj", "layers.3.self_attn.v_proj")
CASES = {
    "tiny-llama-lora": ("tiny-llama-lora", False, (0, 3), (2,), TINY_MERGED),
    "tiny-llama-dora": ("tiny-llama-dora", False, (0, 3), (2,), TINY_MERGED),
    "tiny-llama-patterns": ("tiny-llama-patterns", False, (0, 1, 2, 3), (0, 1, 2, 3), ("layers.1.self_attn.v_proj",)),
    "tiny-llama-hqq4-lora": ("tiny-llama-lora", True, (0,), (), TINY_MERGED),
    "tiny-llama-hqq4-dora": ("tiny-llama-dora", True, (0,), (), TINY_MERGED),
    "llama-lora": ("llama-lora", False, (0, 1), (0, 1), ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")),
    "llama-dora": ("llama-dora", False, (0, 1), (0, 1), ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")),
    "llama-bias-dora": ("llama-bias-dora", False, (0, 1), (), ("layers.0.self_attn.v_proj", "layers.1.mlp.up_proj")),
    "llama-rope-llama3-lora": ("llama-rope-llama3-lora", False, (0, 1), (), ("layers.0.self_attn.o_proj",)),
    "llama-rope-linear-lora": ("llama-rope-linear-lora", False, (0, 1), (), ("layers.1.self_attn.k_proj",)),
    "qwen2-lora": ("qwen2-lora", False, (0, 1), (), ("layers.0.self_attn.v_proj",)),
    "qwen3-dora": ("qwen3-dora", False, (0, 1), (), ("layers.0.self_attn.q_proj",)),
    "llama-ln": ("llama-ln", False, (0, 1), (0, 1), ("norm", "layers.0.input_layernorm")),
    "tiny-llama-tokens": ("tiny-llama-tokens", False, (), (), ()),
    "qwen3-tokens": ("qwen3-tokens", False, (0, 1), (0, 1), ()),
    "qwen3-norms": ("qwen3-norms", False, (0, 1), (0, 1), ("norm", "layers.0.self_attn.q_norm")),
    "llama-bias-embed": ("llama-bias-embed", False, (0, 1), (), ()),
    "llama-bias-all": ("llama-bias-all", False, (0, 1), (0, 1), ()),
}


def load_base(directory, hqq):
    model = AutoModelForCausalLM.from_pretrained(
        golden.ROOT / directory, dtype=torch.float32, attn_implementation="eager"
    )
    return model, hqq_base.quantize_linears(model) if hqq else {}


def key_of(parameter_name):
    """The key of a parameter in adapter_model.safetensors."""
    name = parameter_name.replace(".default", "").replace(".modules_to_save", "")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def trainable(model):
    return {key_of(name): p for name, p in model.named_parameters() if p.requires_grad}


def make_adapter(name, seed):
    directory, options = ADAPTERS[name]
    torch.manual_seed(seed)
    base, _ = load_base(directory, False)
    base.name_or_path = directory.rpartition("/")[2]
    config = LoraConfig(task_type="CAUSAL_LM", **options) if isinstance(options, dict) else options
    model = get_peft_model(base, config)
    with torch.no_grad():
        for key, parameter in trainable(model).items():
            noise = torch.randn(parameter.shape)
            if "lora_B" in key:
                parameter.copy_(0.03 * noise)
            elif "magnitude" in key:
                parameter.mul_(1 + 0.05 * noise)
            elif "lora_A" not in key:
                parameter.add_(0.05 * noise)
    out = HERE / "adapters" / name
    model.peft_config["default"].base_model_name_or_path = directory.rpartition("/")[2]
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config = json.loads((out / "adapter_config.json").read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # peft keeps a set: its order changes from run to run
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "adapter_model.safetensors").chmod(0o644)
    saved = get_peft_model_state_dict(model)
    # tied embeddings: peft saves the rows a second time under lm_head
    assert set(saved) - set(trainable(model)) <= {"base_model.model.lm_head.trainable_tokens_delta"}, set(saved)
    assert set(trainable(model)) <= set(saved)


def make_batches(directory, vocabulary, seed):
    """[steps, rows, length] ids, mask and labels: right padding, -100 on the first tokens and on the padding."""
    generator = torch.Generator().manual_seed(seed)
    if directory == "tiny-llama":
        tokenizer = AutoTokenizer.from_pretrained(golden.TINY_LLAMA)
        rng = random.Random(seed)
        rows = []
        while len(rows) < STEPS * ROWS + 1:
            row = tokenizer(language.story(rng))["input_ids"]
            if len(row) >= LENGTH:
                rows.append(row[:LENGTH])
        rows = torch.tensor(rows)
    else:
        rows = torch.randint(3, vocabulary, (STEPS * ROWS + 1, LENGTH), generator=generator)
    ids = rows[: STEPS * ROWS].view(STEPS, ROWS, LENGTH).clone()
    mask, labels = torch.ones_like(ids), ids.clone()
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (STEPS, ROWS), generator=generator)
    lengths[:, 0] = LENGTH
    for step in range(STEPS):
        for row in range(ROWS):
            length, skipped = int(lengths[step, row]), 2 + 2 * row
            ids[step, row, length:], mask[step, row, length:] = 0, 0
            labels[step, row, length:], labels[step, row, :skipped] = -100, -100
    return ids, mask, labels, rows[STEPS * ROWS]


def run(model, batch):
    ids, mask, labels = batch
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


def in_layers(key, layers):
    return ".layers." not in key or any(f".layers.{layer}." in key for layer in layers)


def make_case(name, seed):
    adapter, hqq, kept_layers, gradient_layers, merged = CASES[name]
    directory, _ = ADAPTERS[adapter]

    def load():
        base, quantized = load_base(directory, hqq)
        model = PeftModel.from_pretrained(base, HERE / "adapters" / adapter, is_trainable=True)
        return model.train(), quantized

    model, quantized = load()
    ids, mask, labels, row = make_batches(directory, model.config.vocab_size, seed)
    batches = list(zip(ids, mask, labels))
    tensors = {
        "batch_input_ids": ids,
        "batch_attention_mask": mask,
        "batch_labels": labels,
        "input_ids": row,
    }
    with torch.no_grad():
        tensors["logits"] = model(input_ids=row[None]).logits[0]
        if model.peft_config["default"].to_dict().get("bias", "none") == "none":
            with model.disable_adapter():
                tensors["base_logits"] = model(input_ids=row[None]).logits[0]
        else:  # disable_adapter leaves trained biases where they are
            tensors["base_logits"] = load_base(directory, hqq)[0](input_ids=row[None]).logits[0]

    loss = run(model, batches[0])
    loss.backward()
    parameters = trainable(model)
    for key, parameter in parameters.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key
        if in_layers(key, gradient_layers):
            tensors["gradient." + key] = parameter.grad.clone()
    torch.optim.SGD(parameters.values(), lr=SGD_LR).step()
    tensors["sgd_loss"] = loss.detach()
    for key, parameter in parameters.items():
        if in_layers(key, kept_layers):
            tensors["after_sgd." + key] = parameter.detach().clone()

    model, _ = load()
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=ADAMW_LR, weight_decay=0.0)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = run(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors["adamw_losses"] = torch.tensor(losses)

    # merging needs dense weights: an HQQ base is merged through its reconstruction, the same function
    base, _ = load_base(directory, False)
    if hqq:
        hqq_base.dequantize_linears(base)
    model = PeftModel.from_pretrained(base, HERE / "adapters" / adapter)
    with torch.no_grad():
        difference = (model.eval()(input_ids=row[None]).logits[0] - tensors["logits"]).abs().max().item()
        assert difference < 1e-4, difference
        dense = model.merge_and_unload()
        for module in merged:
            tensors[f"merged.model.{module}.weight"] = dense.get_submodule("model." + module).weight
    effect = (tensors["logits"] - tensors["base_logits"]).abs().max().item()
    print(f"{name}: losses {losses}, adapter changes logits by up to {effect:.3f}")
    golden.write_tensors(
        HERE / "goldens" / f"{name}.safetensors",
        tensors,
        "peft/make_peft.py",
        PACKAGES,
        base="tiny-llama-hqq4" if hqq else directory,
        adapter=adapter,
        adamw={"lr": ADAMW_LR, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0},
        sgd={"lr": SGD_LR},
    )



def write_hqq_base(quantized):
    """The HQQ layers in the library's own layout: NAME.W_q, NAME.scale, NAME.zero and their encoded settings."""
    tensors = {}
    for name, layer in quantized.items():
        for key, value in layer.state_dict().items():
            tensors[f"{name}.{key}"] = value
    golden.write_tensors(
        HERE / "bases" / "tiny-llama-hqq4.safetensors",
        tensors,
        "peft/make_peft.py",
        PACKAGES,
        base="tiny-llama",
        quantization={"nbits": 4, "group_size": 64, "axis": 1, "compute_dtype": "float32"},
    )


def main():
    golden.deterministic(0)
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            if name in ADAPTERS:
                shutil.rmtree(HERE / "adapters" / name, ignore_errors=True)
                make_adapter(name, 400 + list(ADAPTERS).index(name))
            make_case(name, 500 + list(CASES).index(name))
        return
    for part in ("adapters", "goldens", "bases"):
        shutil.rmtree(HERE / part, ignore_errors=True)
    for index, name in enumerate(ADAPTERS):
        make_adapter(name, 400 + index)
    for index, name in enumerate(CASES):
        make_case(name, 500 + index)
    _, quantized = load_base("tiny-llama", True)
    write_hqq_base(quantized)


if __name__ == "__main__":
    main()
