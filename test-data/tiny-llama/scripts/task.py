"""Makes the task rows of the tiny model and checks the recipe with peft: DoRA on an HQQ 4-bit base.

    python task.py              writes ../task/train.jsonl, ../task/test.jsonl
    python task.py --check      also tunes and prints exact match before and after
"""

import argparse
import json
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common"))
import golden

import torch

import language

TRAIN_ROWS, TEST_ROWS = 1200, 60


def make_rows():
    """Distinct prompts; the test rows share none with the training rows."""
    rng = random.Random(7)
    rows = {}
    while len(rows) < TRAIN_ROWS + TEST_ROWS:
        prompt, completion = language.mirror(rng)
        rows[prompt] = completion + "<|endoftext|>"
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in rows.items()]
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS:]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{path.name}: {len(rows)} rows, {path.stat().st_size} bytes")


def batch(tokenizer, rows):
    """Right-padded ids and labels; the loss is on the completion only."""
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in rows]
    answers = [tokenizer(row["completion"])["input_ids"] for row in rows]
    width = max(len(p) + len(a) for p, a in zip(prompts, answers))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels


@torch.no_grad()
def exact_match(model, tokenizer, rows):
    """Share of rows whose greedy continuation is the completion, end of text included."""
    model.eval()
    hits, first = 0, None
    for row in rows:
        ids = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, use_cache=True
        )
        text = tokenizer.decode(out[0, ids.shape[1] :])
        first = first or text
        hits += text == row["completion"]
    model.train()
    return hits / len(rows), first


def check(directory, steps, rank, lr, batch_size, seed):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import hqq_base

    golden.deterministic(seed)
    train, test = make_rows()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    print("base, dense:", exact_match(model, tokenizer, test))
    hqq_base.quantize_linears(model)
    print("base, HQQ 4-bit:", exact_match(model, tokenizer, test))
    model = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(hqq_base.LINEARS), use_dora=True)
    )
    model.print_trainable_parameters()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0)
    rng = random.Random(seed)
    start = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 10) * (1 - step / steps)
        ids, labels = batch(tokenizer, rng.sample(train, batch_size))
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            match, text = exact_match(model, tokenizer, test)
            print(f"step {step + 1} loss {loss.item():.4f} match {match:.3f} {text!r} {time.time() - start:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--model", default=str(golden.TINY_LLAMA))
    arguments = parser.parse_args()
    train, test = make_rows()
    write(golden.TINY_LLAMA / "task" / "train.jsonl", train)
    write(golden.TINY_LLAMA / "task" / "test.jsonl", test)
    if arguments.check:
        check(arguments.model, arguments.steps, arguments.rank, arguments.lr, arguments.batch_size, arguments.seed)


if __name__ == "__main__":
    main()
