"""Makes the tiny Llama: trains its tokenizer and its weights on text of `language.py`, writes the HF directory.

    python train.py [--steps 1500] [--out DIR]
"""

import argparse
import json
import math
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common"))
import golden

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import language

VOCABULARY = 576
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nYou are a tiny model.<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('Unknown role: ' + message['role']) -}}"
    "{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def documents(seed, count):
    rng = random.Random(seed)
    return [language.document(rng) for _ in range(count)]


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def stream(tokenizer, texts):
    """All documents as one row of token ids, each closed by the end-of-text token."""
    ids = []
    for row in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        ids.extend(row)
        ids.append(tokenizer.eos_token_id)
    return torch.tensor(ids)


def held_out_loss(model, ids, length=128):
    rows = ids[: len(ids) // length * length].view(-1, length)
    with torch.no_grad():
        return sum(model(input_ids=block, labels=block).loss.item() * len(block) for block in rows.split(16)) / len(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-2)
    parser.add_argument("--out", default=str(golden.TINY_LLAMA))
    arguments = parser.parse_args()
    golden.deterministic(20240501)

    tokenizer = train_tokenizer(documents(1, 6000))
    tokens = stream(tokenizer, documents(2, 40000))
    held_out = stream(tokenizer, documents(3, 500))
    print(f"vocabulary {len(tokenizer)}, training tokens {len(tokens)}, held-out tokens {len(held_out)}", flush=True)

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        attention_bias=False,
        mlp_bias=False,
        initializer_range=0.05,
    )
    model = LlamaForCausalLM(config)
    # Muon for the matrices of the layers (it finds the copying heads several times sooner than AdamW does)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in name)]
    optimizers = [
        torch.optim.Muon(matrices, lr=arguments.lr, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=0.2 * arguments.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    warmup = 30

    def scale(step):
        return min(1, (step + 1) / warmup, 0.02 + (arguments.steps - step) / (0.4 * arguments.steps))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, scale) for optimizer in optimizers]
    picker = torch.Generator().manual_seed(4)
    offsets = torch.arange(arguments.length)
    start = time.time()
    for step in range(arguments.steps):
        rows = torch.randint(0, len(tokens) - arguments.length, (arguments.batch, 1), generator=picker) + offsets
        loss = model(input_ids=tokens[rows], labels=tokens[rows]).loss
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
        if step % 50 == 0 or step == arguments.steps - 1:
            print(f"step {step} loss {loss.item():.4f} seconds {time.time() - start:.0f}", flush=True)

    model.to(torch.bfloat16)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    template = out / "chat_template.jinja"
    if template.exists():  # kept inside tokenizer_config.json, as most published models have it
        template.unlink()
        about = json.loads((out / "tokenizer_config.json").read_text())
        about["chat_template"] = CHAT_TEMPLATE
        (out / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    model.float().eval()
    loss = held_out_loss(model, held_out)
    print(f"held-out loss {loss:.4f} perplexity {math.exp(loss):.3f} (weights rounded to bf16, computed in f32)")
    golden.write_json(
        out / "training.json",
        {
            "steps": arguments.steps,
            "parameters": sum(p.numel() for p in model.parameters()),
            "training_tokens": len(tokens),
            "held_out_tokens": len(held_out),
            "held_out_loss": loss,
            "held_out_perplexity": math.exp(loss),
        },
        "tiny-llama/scripts/train.py",
        ["transformers", "tokenizers", "safetensors"],
    )
    for prompt in ["Mia was in the garden.", "A fox is an animal.", "The opposite of big is"]:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        text = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False)
        print(repr(tokenizer.decode(text[0])))


if __name__ == "__main__":
    main()
