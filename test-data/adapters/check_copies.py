"""Checks that peft loads what Vectune wrote: same output as the golden.

    python check_copies.py DIRECTORY        with one adapter directory a case, copies of adapters/CASE

A copy is made by reading and writing each adapter (`vectune convert --in adapters/CASE --out DIRECTORY/CASE --to peft`).
"""

import pathlib
import sys
import warnings

from make_adapters import CASES, HERE, MODULE, Net

import torch
from peft import PeftModel
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
failures = 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    _, _, sizes, bias, _ = CASES[path.name]
    tensors = load_file(HERE / "goldens" / f"{path.name}.safetensors")
    net = Net(*sizes, bias)
    linear = net.get_submodule(MODULE)
    linear.weight.data = tensors["weight"].clone()
    if bias:
        linear.bias.data = tensors["bias"].clone()
    model = PeftModel.from_pretrained(net, path).eval()
    with torch.no_grad():
        error = ((model(tensors["x"]) - tensors["y"]).abs().max() / tensors["y"].abs().max()).item()
    failures += not error <= 1e-5
    print(f"{path.name}: {error:.1e}")
sys.exit(failures > 0)
