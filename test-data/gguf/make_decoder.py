"""A decoder of one layer as a GGUF file: decoder.gguf, with the tokenizer of test-data/tiny-llama.

    python test-data/gguf/make_decoder.py

Normal weights in Q8_0 and Q4_1; the general.description says which gguf-py wrote it.
"""

import importlib.metadata
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

HERE = pathlib.Path(__file__).resolve().parent
HIDDEN, INTERMEDIATE, HEADS, KEY_VALUE_HEADS = 64, 128, 2, 1


def main():
    random = np.random.default_rng(31)
    tokenizer = json.loads((HERE.parent / "tiny-llama/tokenizer.json").read_text(encoding="utf-8"))
    model = tokenizer["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]

    writer = gguf.GGUFWriter(HERE / "decoder.gguf", "llama")
    writer.add_description("gguf " + importlib.metadata.version("gguf") + ", numpy " + np.__version__)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def put(name, kind, rows, columns):
        values = (random.standard_normal((rows, columns)) * 0.05).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    key_values = HIDDEN // HEADS * KEY_VALUE_HEADS
    put("token_embd.weight", Type.Q8_0, len(vocabulary), HIDDEN)
    put("blk.0.attn_q.weight", Type.Q4_1, HIDDEN, HIDDEN)
    put("blk.0.attn_k.weight", Type.Q4_1, key_values, HIDDEN)
    put("blk.0.attn_v.weight", Type.Q8_0, key_values, HIDDEN)
    put("blk.0.attn_output.weight", Type.Q4_1, HIDDEN, HIDDEN)
    put("blk.0.ffn_gate.weight", Type.Q4_1, INTERMEDIATE, HIDDEN)
    put("blk.0.ffn_up.weight", Type.Q4_1, INTERMEDIATE, HIDDEN)
    put("blk.0.ffn_down.weight", Type.Q8_0, HIDDEN, INTERMEDIATE)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, (1 + 0.1 * random.standard_normal(HIDDEN)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
