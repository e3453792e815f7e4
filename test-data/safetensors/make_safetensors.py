"""Writes all-dtypes.safetensors, sharded/ and all-dtypes.json with the Python library.

    python make_safetensors.py

Made with safetensors 0.8.0 and torch 2.15.0; the versions are also in the files' metadata.
"""
import json
import os
import shutil

import safetensors
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "C64": torch.complex64,
}


def main():
    versions = {"safetensors": safetensors.__version__, "torch": torch.__version__, "format": "pt"}
    tensors = {}
    for name, dtype in DTYPES.items():
        width = torch.empty(0, dtype=dtype).element_size()
        generator = torch.Generator().manual_seed(len(name) + width)
        raw = torch.randint(0, 2 if name == "BOOL" else 256, (2, 3 * width), dtype=torch.uint8, generator=generator)
        tensors["tensor." + name] = raw.view(dtype)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["größe.漢字.😀"] = torch.arange(5, dtype=torch.int32)
    # One metadata key: the library keeps several in a random order, and this file is compared byte for byte.
    save_file(tensors, os.path.join(HERE, "all-dtypes.safetensors"), metadata={"versions": json.dumps(versions)})
    facts = {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "bytes": bytes(tensor.contiguous().flatten().view(torch.uint8).tolist()).hex() if tensor.numel() else "",
        }
        for name, tensor in tensors.items()
    }
    with open(os.path.join(HERE, "all-dtypes.json"), "w", encoding="utf-8") as out:
        json.dump({"versions": versions, "tensors": facts}, out, indent=1, ensure_ascii=False)
        out.write("\n")

    sharded = os.path.join(HERE, "sharded")
    shutil.rmtree(sharded, ignore_errors=True)
    os.makedirs(sharded)
    shards = {
        "model-00001-of-00002.safetensors": {"a": torch.arange(4.0), "c": torch.arange(6.0).reshape(2, 3)},
        "model-00002-of-00002.safetensors": {"b": torch.arange(3.0).to(torch.bfloat16)},
    }
    weight_map = {}
    for name, content in shards.items():
        save_file(content, os.path.join(sharded, name), metadata={"format": "pt"})
        weight_map.update({key: name for key in content})
    with open(os.path.join(sharded, "model.safetensors.index.json"), "w", encoding="utf-8") as out:
        json.dump({"metadata": {"total_size": 46}, "weight_map": dict(sorted(weight_map.items()))}, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    main()
