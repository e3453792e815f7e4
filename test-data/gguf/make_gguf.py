"""GGUF files and what gguf-py reads from them.

    python test-data/gguf/make_gguf.py

blocks.gguf: one tensor of each block format, (rows, columns), and NAME.expected (F32), its dequantization by gguf-py.
Formats that gguf-py can quantize are quantized from normal values, then some blocks are overwritten with random bytes;
the others are random bytes throughout, with f16 scales that are finite.
metadata.gguf: every metadata value type, arrays of each, an alignment of 64, tensors of the plain types.
"""

import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES

HERE = pathlib.Path(__file__).resolve().parent

# name, shape, byte offsets of f16 fields in a block
BLOCKS = [
    (Type.Q4_0, (3, 96), [0]),
    (Type.Q4_1, (3, 96), [0, 2]),
    (Type.Q5_0, (3, 96), [0]),
    (Type.Q5_1, (3, 96), [0, 2]),
    (Type.Q8_0, (3, 96), [0]),
    (Type.Q2_K, (2, 768), [80, 82]),
    (Type.Q3_K, (2, 768), [108]),
    (Type.Q4_K, (2, 768), [0, 2]),
    (Type.Q5_K, (2, 768), [0, 2]),
    (Type.Q6_K, (2, 768), [208]),
]


def random_blocks(rng, qtype, shape, halves):
    """Random valid blocks: any bytes, with f16 fields that are finite and of ordinary size."""
    elements, size = GGML_QUANT_SIZES[qtype]
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)
    for offset in halves:
        values = rng.normal(0, 0.02, len(blocks)).astype(np.float16)
        values[0] = np.float16(6e-8)  # the least subnormal
        blocks[:, offset : offset + 2] = values.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(shape[0], -1)


def quantized(rng, qtype, shape, halves):
    data = random_blocks(rng, qtype, shape, halves)
    values = rng.normal(0, 0.1, shape).astype(np.float32)
    values[0, :32] = 0
    try:
        real = gguf.quantize(values, qtype)
    except NotImplementedError:
        return data
    data[: shape[0] - 1] = real[: shape[0] - 1]
    return data


def about(writer):
    writer.add_string("vectune.script", "test-data/gguf/make_gguf.py")
    import importlib.metadata

    writer.add_string("vectune.versions", f"gguf {importlib.metadata.version('gguf')}, numpy {np.__version__}")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_blocks():
    rng = np.random.default_rng(20261122)
    writer = gguf.GGUFWriter(HERE / "blocks.gguf", "test")
    about(writer)
    for qtype, shape, halves in BLOCKS:
        data = quantized(rng, qtype, shape, halves)
        writer.add_tensor(qtype.name, data, raw_dtype=qtype)
        writer.add_tensor(qtype.name + ".expected", gguf.dequantize(data, qtype).astype(np.float32))
    for name, values in (
        ("F32", rng.normal(0, 1, (3, 40)).astype(np.float32)),
        ("F16", rng.normal(0, 1, (3, 40)).astype(np.float16)),
    ):
        writer.add_tensor(name, values)
        writer.add_tensor(name + ".expected", values.astype(np.float32))
    half = gguf.quantize(rng.normal(0, 1, (3, 40)).astype(np.float32), Type.BF16)
    writer.add_tensor("BF16", half, raw_dtype=Type.BF16)
    writer.add_tensor("BF16.expected", gguf.dequantize(half, Type.BF16))
    finish(writer)


def make_metadata():
    writer = gguf.GGUFWriter(HERE / "metadata.gguf", "test")
    about(writer)
    writer.add_custom_alignment(64)
    writer.add_uint8("value.uint8", 200)
    writer.add_int8("value.int8", -100)
    writer.add_uint16("value.uint16", 60000)
    writer.add_int16("value.int16", -30000)
    writer.add_uint32("value.uint32", 4000000000)
    writer.add_int32("value.int32", -2000000000)
    writer.add_uint64("value.uint64", 1 << 40)
    writer.add_int64("value.int64", -(1 << 40))
    writer.add_float32("value.float32", 0.1)
    writer.add_float64("value.float64", 0.1)
    writer.add_bool("value.true", True)
    writer.add_bool("value.false", False)
    writer.add_string("value.string", "h\u00e9llo \U0001f600")
    writer.add_array("array.string", ["a", "", "\u0120the", "\U0001f600"])
    writer.add_array("array.int32", [1, -2, 3])
    writer.add_array("array.float32", [0.5, -1.25])
    writer.add_array("array.bool", [True, False])
    writer.add_tensor("vector", np.arange(5, dtype=np.float32))
    writer.add_tensor("integers", np.arange(6, dtype=np.int32).reshape(2, 3))
    writer.add_tensor("cube", np.arange(24, dtype=np.float16).reshape(2, 3, 4))
    finish(writer)


if __name__ == "__main__":
    make_blocks()
    make_metadata()
    for name in ("blocks.gguf", "metadata.gguf"):
        print(name, (HERE / name).stat().st_size, "bytes")
