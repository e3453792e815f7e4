"""Five AdamW steps with the parameter groups of peft's create_loraplus_optimizer, on adapters of make_peft.py.

    python make_loraplus.py

LoRA+ gives lora_B and vectors (magnitudes, biases) `ratio` times the learning rate; biases have no weight decay.
"""

import make_peft

import golden
import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer

# golden: (adapter, ratio, weight decay)
CASES = {
    "loraplus-llama-lora": ("llama-lora", 16.0, 0.0),
    "loraplus-qwen3-dora": ("qwen3-dora", 8.0, 0.5),
    "loraplus-llama-bias-all": ("llama-bias-all", 4.0, 0.5),
}


def make_case(name, seed):
    adapter, ratio, decay = CASES[name]
    directory, _ = make_peft.ADAPTERS[adapter]
    base, _ = make_peft.load_base(directory, False)
    model = PeftModel.from_pretrained(base, make_peft.HERE / "adapters" / adapter, is_trainable=True).train()
    ids, mask, labels, _ = make_peft.make_batches(directory, model.config.vocab_size, seed)
    optimizer = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=make_peft.ADAMW_LR, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay
    )
    losses = []
    for batch in zip(ids, mask, labels):
        optimizer.zero_grad()
        loss = make_peft.run(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tensors = {"batch_input_ids": ids, "batch_attention_mask": mask, "batch_labels": labels,
               "adamw_losses": torch.tensor(losses)}
    for key, parameter in make_peft.trainable(model).items():
        if make_peft.in_layers(key, (0,)):
            tensors["after_adamw." + key] = parameter
    print(f"{name}: losses {losses}")
    golden.write_tensors(
        make_peft.HERE / "goldens" / f"{name}.safetensors",
        tensors,
        "peft/make_loraplus.py",
        ["transformers", "peft", "safetensors"],
        base=directory,
        adapter=adapter,
        ratio=repr(ratio),
        weight_decay=repr(decay),
        lr=repr(make_peft.ADAMW_LR),
    )


def main():
    golden.deterministic(0)
    for index, name in enumerate(CASES):
        make_case(name, 700 + index)


if __name__ == "__main__":
    main()
