"""Layer-level goldens of the real lora-lite library, for its file format and for the kinds that peft does not have.

    PYTHONPATH=<a checkout of wassname/lora-lite at 19888fb>/src python make_lora_lite.py

One linear layer as in make_adapters.py: the adapter file that lora-lite saves, the output, all gradients, the
parameters after one SGD step and the losses of five AdamW steps, all in float32.
"""

import sys

from make_adapters import ADAMW_LR, HERE, MODULE, Net, SGD_LR, STEPS, golden, loss_of

import lora_lite
import torch

COMMIT = "19888fb"
COMMON = dict(r=4, alpha=8, dtype=torch.float32, target_names=("q_proj",))

# case: (config, how far parameters are moved)
CASES = {
    "lora": (lambda: lora_lite.LoRAConfig(**COMMON), 0.2),
    "dora": (lambda: lora_lite.DoRAConfig(**COMMON), 0.2),
    "pissa": (lambda: lora_lite.PiSSAConfig(**COMMON), 0.05),
    "delora": (lambda: lora_lite.DeLoRAConfig(lambda0=2.0, **COMMON), 0.2),
    "hra": (lambda: lora_lite.HRAConfig(**COMMON), 0.2),
    "ia3": (lambda: lora_lite.IA3Config(**COMMON), 0.2),
    "ia3-ff": (lambda: lora_lite.IA3FFConfig(**COMMON), 0.2),
    "road": (lambda: lora_lite.RoadConfig(road_variant="road_4", group_size=8, **COMMON), 0.2),
    "antipasto-v": (lambda: lora_lite.AntiPaSTOConfig(**{**COMMON, "r": 8}, rotate_basis="V"), 0.2),
    "antipasto-u": (lambda: lora_lite.AntiPaSTOConfig(**{**COMMON, "r": 8}, rotate_basis="U", block_size=2), 0.2),
    "antipasto-none": (lambda: lora_lite.AntiPaSTOConfig(**{**COMMON, "r": 8}, rotate_basis="none"), 0.2),
}


def make(name):
    config, distance = CASES[name]
    golden.deterministic(sum(name.encode()))
    net = Net(24, 40, True)
    linear = net.get_submodule(MODULE)
    tensors = {"weight": linear.weight.data.clone(), "bias": linear.bias.data.clone()}
    x, target = torch.randn(10, 24), torch.randn(10, 40)
    lora_lite.attach(net, config())
    parameters = {key.rpartition(".")[2]: value for key, value in net.named_parameters() if value.requires_grad}
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += distance * torch.randn_like(parameter)
    (HERE / "lora-lite").mkdir(exist_ok=True)
    lora_lite.save(net, str(HERE / "lora-lite" / f"{name}.safetensors"))
    x.requires_grad_(True)
    tensors |= {"x": x.detach().clone(), "target": target, "y": net(x)}
    loss_of(net, x, target).backward()
    tensors["gradient.x"] = x.grad.clone()
    x.requires_grad_(False)
    with torch.no_grad():
        for key, parameter in parameters.items():
            tensors["gradient." + key] = parameter.grad.clone()
            tensors["sgd." + key] = parameter - SGD_LR * parameter.grad
    optimizer = torch.optim.AdamW(parameters.values(), lr=ADAMW_LR, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(net, x, target)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    tensors["losses"] = torch.tensor(losses)
    golden.write_tensors(
        HERE / "lora-lite" / f"{name}.golden.safetensors",
        tensors,
        "make_lora_lite.py",
        ["safetensors"],
        lora_lite=COMMIT,
        adamw_lr=str(ADAMW_LR),
        sgd_lr=str(SGD_LR),
    )


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
