"""Makes the random tiny models and the goldens of their forward pass and of greedy generation.

    python make_models.py            every random model and its golden
    python make_models.py --golden tiny-llama    only the golden of the trained model

Weights are random with a wide range, so that the logits are far from uniform; norms and biases are random too.
Everything is computed in float32 with eager attention from the stored (f32, f16 or bf16) weights.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
import golden

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["transformers", "safetensors"]
TOKENS, PROMPT, NEW_TOKENS = 40, 8, 24

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": True,
}
DEFAULT_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
QWEN = {key: value for key, value in LLAMA.items() if key not in ("attention_bias", "mlp_bias")}

# The configurations as the files hold them: transformers 5 style (rope_parameters, dtype) or 4.x style (rope_theta,
# rope_scaling, torch_dtype).
CONFIGS = {
    "llama": LLAMA | DEFAULT_ROPE | {"dtype": "float32"},
    "llama-rope-llama3": LLAMA
    | {
        "torch_dtype": "bfloat16",
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "llama-rope-llama3-v5": LLAMA
    | {
        "dtype": "bfloat16",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "llama-rope-linear": LLAMA
    | {"torch_dtype": "float16", "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    # untied head, as many key-value heads as heads, two shards
    "llama-untied": LLAMA
    | {
        "torch_dtype": "bfloat16",
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "num_key_value_heads": 4,
        "num_hidden_layers": 3,
    },
    "llama-bias": LLAMA | DEFAULT_ROPE | {"dtype": "bfloat16", "attention_bias": True, "mlp_bias": True},
    "qwen2": QWEN
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "torch_dtype": "bfloat16",
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "use_sliding_window": False,
        "sliding_window": 128,
        "max_window_layers": 2,
    },
    "qwen3": QWEN
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "head_dim": 32,
        "attention_bias": False,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": 2,
        "tie_word_embeddings": False,
    },
}


def randomize(model, generator):
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 0.4 * noise
        else:
            value = 0.25 * noise
        parameter.data.copy_(value)


def write_model(name, seed):
    """Writes DIR/config.json and the weights by hand, so that the files are in the style the table above shows."""
    directory = HERE / name
    directory.mkdir(parents=True, exist_ok=True)
    about = CONFIGS[name]
    (directory / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32)
    randomize(model, torch.Generator().manual_seed(seed))
    stored = getattr(torch, about.get("dtype") or about.get("torch_dtype"))
    tensors = {key: value.to(stored).contiguous() for key, value in model.state_dict().items()}
    if about["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    if name != "llama-untied":
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        return
    half = sorted(tensors)[: len(tensors) // 2]
    files = {key: f"model-0000{1 if key in half else 2}-of-00002.safetensors" for key in sorted(tensors)}
    for file in sorted(set(files.values())):
        save_file({k: tensors[k] for k in tensors if files[k] == file}, directory / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def write_golden(name, directory, seed):
    model, report = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    model.eval()
    vocabulary = model.config.vocab_size
    generator = torch.Generator().manual_seed(seed)
    if name == "tiny-llama":
        from transformers import AutoTokenizer

        text = (
            "Mia was in the garden. Mia had a big ball. Mia gave the big ball to Tom. Tom said thank you to Mia. "
            "Now Tom had the big ball."
        )
        ids = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt")["input_ids"]
    else:
        ids = torch.randint(3, vocabulary, (1, TOKENS), generator=generator)
    logits = model(input_ids=ids).logits[0]

    sequence, margin = ids[:, :PROMPT], float("inf")
    for _ in range(NEW_TOKENS):
        top = model(input_ids=sequence).logits[0, -1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        sequence = torch.cat([sequence, top.indices[:1].view(1, 1)], dim=1)
    assert margin > 1e-3, (name, margin)
    assert name == "tiny-llama" or 2 not in sequence[0, PROMPT:], "a random model must not end its text"
    cached = model.generate(
        ids[:, :PROMPT],
        attention_mask=torch.ones_like(ids[:, :PROMPT]),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(cached, sequence), "greedy tokens with and without a cache differ"

    batch = torch.randint(3, vocabulary, (3, 24), generator=generator)
    mask, labels = torch.ones_like(batch), batch.clone()
    for row, length in enumerate((24, 17, 9)):
        batch[row, length:], mask[row, length:], labels[row, length:] = 0, 0, -100
    labels[:, :4] = -100
    loss = model(input_ids=batch, attention_mask=mask, labels=labels).loss
    print(f"{name}: logits deviation {logits.std():.3f}, smallest margin {margin:.4f}, loss {loss:.4f}, "
          f"distinct greedy tokens {len(set(sequence[0, PROMPT:].tolist()))}")
    golden.write_tensors(
        HERE / "goldens" / f"{name}.safetensors",
        {
            "input_ids": ids[0],
            "logits": logits,
            "prompt_ids": ids[0, :PROMPT],
            "greedy_ids": sequence[0, PROMPT:],
            "batch_input_ids": batch,
            "batch_attention_mask": mask,
            "batch_labels": labels,
            "batch_loss": loss,
        },
        "models/make_models.py",
        PACKAGES,
        model=name,
        smallest_margin=margin,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--golden", help="only the golden of this model")
    arguments = parser.parse_args()
    golden.deterministic(0)
    for seed, name in enumerate(CONFIGS):
        if arguments.golden in (None, name):
            write_model(name, 100 + seed)
            write_golden(name, HERE / name, 200 + seed)
    if arguments.golden in (None, "tiny-llama"):
        write_golden("tiny-llama", golden.TINY_LLAMA, 300)


if __name__ == "__main__":
    main()
