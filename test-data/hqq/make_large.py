"""A random model of the size of Llama-2-7B (6.74 G weights, bf16, 13.5 GB), one layer in memory at a time.

    python test-data/hqq/make_large.py DIRECTORY [LAYERS]
    vectune quantize --model DIRECTORY --out QUANTIZED --method hqq

Each layer is a shard of its own. Values are taken from one pool of normal numbers at a place of their own for each
tensor, so that making the model takes as long as writing it.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

HIDDEN, INTERMEDIATE, VOCABULARY, HEADS = 4096, 11008, 32000, 32
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE, "max_position_embeddings": 4096, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
}


class Pool:
    """Normal numbers of standard deviation 0.02; 2^27 values are more than any tensor has."""

    def __init__(self):
        torch.manual_seed(7)
        self.values = (torch.randn(1 << 27) * 0.02).bfloat16()
        self.used = 0

    def take(self, *shape):
        count = torch.Size(shape).numel()
        self.used = (self.used * 1664525 + 1013904223) % (1 << 32)
        start = self.used % (self.values.numel() - count)
        return self.values[start:start + count].reshape(shape).clone()


def layer(pool, index):
    name = f"model.layers.{index}."
    ones = torch.ones(HIDDEN, dtype=torch.bfloat16)
    tensors = {name + "input_layernorm.weight": ones, name + "post_attention_layernorm.weight": ones.clone()}
    for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
        tensors[f"{name}self_attn.{part}.weight"] = pool.take(HIDDEN, HIDDEN)
    for part in ("gate_proj", "up_proj"):
        tensors[f"{name}mlp.{part}.weight"] = pool.take(INTERMEDIATE, HIDDEN)
    tensors[name + "mlp.down_proj.weight"] = pool.take(HIDDEN, INTERMEDIATE)
    return tensors


def main(directory, layers=32):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True)
    pool, shards, total = Pool(), {}, 0
    for index in range(layers + 1):
        if index < layers:
            tensors = layer(pool, index)
        else:
            tensors = {"model.embed_tokens.weight": pool.take(VOCABULARY, HIDDEN),
                       "model.norm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
                       "lm_head.weight": pool.take(VOCABULARY, HIDDEN)}
        file = f"model-{index + 1:05d}-of-{layers + 1:05d}.safetensors"
        save_file(tensors, directory / file, metadata={"format": "pt"})
        shards.update({name: file for name in tensors})
        total += sum(2 * tensor.numel() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": shards}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    print(f"{total / 1e9:.2f} GB, {total // 2 / 1e9:.2f} G weights in {directory}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
