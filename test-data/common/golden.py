"""What every golden script shares: one thread, a fixed seed, library versions, small writers."""

import hashlib
import importlib.metadata
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY_LLAMA = ROOT / "tiny-llama"


def deterministic(seed):
    """One thread and one seed: torch's sums depend on the number of threads."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)


def versions(*packages):
    """{package: version} of torch and of the named packages."""
    return {name: importlib.metadata.version(name) for name in ("torch", *packages)}


def write_tensors(path, tensors, script, packages, **metadata):
    """Writes a safetensors golden whose metadata names its script and the library versions."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"script": script, "versions": json.dumps(versions(*packages))}
    about.update({key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()})
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path, metadata=about)
    path.chmod(0o644)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def write_json(path, content, script, packages):
    """Writes a JSON golden (ASCII only, one value a line where it is short) with script and versions first."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"script": script, "versions": versions(*packages), **content}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
