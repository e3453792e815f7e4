"""What both round-trip scripts share: a model of a few KB, running the command, comparing logits."""

import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import golden
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 1, 0, 95]


def require(**versions):
    """These scripts pin the libraries whose files they show."""
    for name, wanted in versions.items():
        found = importlib.metadata.version(name)
        assert found == wanted, f"{name}: expected version {wanted}, found {found}"


def model(directory, tied=True, dtype=torch.bfloat16):
    """Saves a Llama of one layer with random weights."""
    golden.deterministic(11)
    config = LlamaConfig(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=tied, initializer_range=0.1)
    result = LlamaForCausalLM(config).to(dtype)
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            if name.endswith("norm.weight"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    result.save_pretrained(directory)
    return directory


def widen(module):
    """Turns a module's own parameters and buffers to f32."""
    for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if value.is_floating_point():
            value.data = value.data.float()


def logits(loaded, tokens=TOKENS):
    """f32 logits of a loaded model, without gradients."""
    with torch.no_grad():
        return loaded(torch.tensor([tokens])).logits[0].float()


def distance(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


class Command:
    """The `vectune` command in a folder of its own."""

    def __init__(self, program):
        self.program = program
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="roundtrip-"))

    def run(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr[-600:]}"
        return done.stdout

    def quantize(self, source, name, *options):
        out = self.folder / name
        self.run("quantize", "--model", source, "--out", out, *options)
        return out

    def logits(self, directory, tokens=TOKENS):
        out = self.folder / "logits.safetensors"
        out.unlink(missing_ok=True)
        self.run("logits", "--model", directory, "--tokens", ",".join(map(str, tokens)), "--out", out)
        return load_file(out)["logits"]

    def close(self):
        shutil.rmtree(self.folder)


def write_golden(directory, values, script, packages):
    """The library's logits beside the directory that it saved."""
    golden.write_tensors(directory / "logits.golden", {"logits": values, "tokens": torch.tensor(TOKENS)}, script, packages)
    for file in directory.iterdir():
        file.chmod(0o644)
        print(f"  {file.name} {file.stat().st_size}")


def clear(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return directory
