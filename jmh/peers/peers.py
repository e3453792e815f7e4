"""Measures Vectune and other libraries in turns, on the same operands, and writes docs/benchmarks/peers.md.

Needs a Python environment with torch, transformers, peft, hqq, bitsandbytes, safetensors and llama-cpp-python, and for
text a GGUF file of SmolLM2-135M-Instruct. Started by jmh/peers/run.

Each row: both sides get the same weights and inputs; what they compute is compared and a row whose results differ by
more than its tolerance fails; then they run in turns, round by round, and the ratio of a round is that of its best runs.
The table shows the median of the rounds.
"""

import argparse
import ctypes
import datetime
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of a library must not take the core of the other

import numpy as np
import torch
from safetensors.torch import save_file


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", required=True, help="command that starts the Java side")
    parser.add_argument("--gguf", help="GGUF file of a small model, for prompt and token")
    parser.add_argument("--out", required=True, help="the table, in Markdown")
    parser.add_argument("--only", default="", help="measure only some rows: 'gemm_f32', 'step lora f32', ...")
    parser.add_argument("--small", action="store_true", help="tiny sizes and short times: tests the script")
    parser.add_argument("--threads", type=int, default=2, help="threads of the many-threaded rows")
    parser.add_argument("--budget", type=float, default=540, help="seconds; rows that would begin later are left out")
    return parser.parse_args()


ARGS = arguments()
SMALL = ARGS.small
BEGIN = time.time()
WORK = tempfile.mkdtemp(prefix="peers")
SECONDS = 0.1 if SMALL else 0.6
ROUNDS = 2 if SMALL else 5
WARM = 0.2 if SMALL else 2.5


class Ours:
    """The Java side: a process that works when told to."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Java side ended at {request}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{answer['error']} at {str(request)[:300]}")
        return answer

    def best(self, seconds, runs=1):
        return min(self.ask(run="case", seconds=seconds, runs=runs)["seconds"])

    def result(self, dtype=np.float32):
        self.ask(write="case", to=f"{WORK}/result")
        return np.fromfile(f"{WORK}/result", dtype)


def best(run, seconds, runs=1):
    found = []
    begin = time.perf_counter()
    while len(found) < runs or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


ROWS = []


def row(work, peer, opened, run, check, tolerance, units, unit, goal, threads, rounds=ROUNDS, seconds=SECONDS, warm=3, cost=None):
    """One row: opens our case, warms both up, compares, measures in turns.

    opened: the request that opens our case; run: the peer's work; check: the error between the peer's and our result;
    cost: (limit, work of one run), limit "fma" (operations) or "read" (bytes).
    """
    name = f"{work} / {peer} / {threads}"
    if time.time() - BEGIN > ARGS.budget:
        print("left out, no time:", name, flush=True)
        ROWS.append(dict(work=work, peer=peer, threads=threads, left_out=True))
        return
    torch.set_num_threads(threads)
    OURS.ask(open="case", threads=threads, **opened)
    try:
        run()
        if seconds > 0:
            best(run, 0.2 * seconds)
        OURS.best(0 if seconds == 0 else WARM, warm)  # the compiler must be done
        error = float(check())
        if not error <= tolerance:
            raise RuntimeError(f"{name}: results differ by {error:.3g}, tolerance {tolerance:.3g}")
        ratios, ours, theirs = [], [], []
        for _ in range(rounds):
            theirs.append(best(run, seconds))
            time.sleep(0.05)
            ours.append(OURS.best(seconds))
            ratios.append(theirs[-1] / ours[-1])
        limits = OURS.ask(limits=threads, seconds=0.1)
    finally:
        OURS.ask(close="case")
    ours_rate, peer_rate = units / statistics.median(ours), units / statistics.median(theirs)
    share = None
    if cost:
        share = 100 * cost[1] / statistics.median(ours) / 1e9 / limits[cost[0]]
    ROWS.append(
        dict(work=work, peer=peer, threads=threads, ours=ours_rate, theirs=peer_rate, unit=unit, ratio=statistics.median(ratios),
             least=min(ratios), most=max(ratios), error=error, tolerance=tolerance, share=share, limit=cost and cost[0], goal=goal,
             fma=limits["fma"], read=limits["read"]))
    print(json.dumps(ROWS[-1]), flush=True)


def relative(found, expected):
    found, expected = np.asarray(found, np.float64).ravel(), np.asarray(expected, np.float64).ravel()
    if found.shape != expected.shape:
        raise RuntimeError(f"expected {expected.size} values, found {found.size}")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def attempt(function, *args):
    """A row that fails is shown as failed, with its reason; the others go on."""
    if ARGS.only not in f"{function.__name__} {' '.join(map(str, args))}":
        return
    try:
        function(*args)
    except Exception as failure:  # noqa: BLE001
        message = str(failure).splitlines()[0][:200] if str(failure) else type(failure).__name__
        print("FAILED", function.__name__, args, message, flush=True)
        ROWS.append(dict(work=f"{function.__name__} {' '.join(map(str, args))}", peer="", threads="", failed=message))
    gc.collect()


def save(name, **tensors):
    path = f"{WORK}/{name}.safetensors"
    save_file({key.replace("__", "."): value.contiguous() for key, value in tensors.items()}, path)
    return path


def sizes(outs, ins):
    return (256, 512) if SMALL else (outs, ins)


def gemm_f32(threads):
    tokens, (outs, ins) = (64 if SMALL else 512), sizes(4096, 4096)
    torch.manual_seed(0)
    x, w = torch.randn(tokens, ins), torch.randn(outs, ins)
    path = save("gemm", x=x, w__weight=w)
    row(f"f32 GEMM {tokens} x {outs} x {ins}", f"torch {torch.__version__}", dict(case="product", file=path),
        lambda: torch.nn.functional.linear(x, w),
        lambda: relative(OURS.result(), torch.nn.functional.linear(x, w).numpy()), 1e-5,
        2e-9 * tokens * outs * ins, "GFLOP/s", ">= 85 % of the peak", threads, cost=("fma", 2.0 * tokens * outs * ins))


def four_bit_operands(kind, tokens, outs, ins):
    """Weights as the library quantizes them, in a file of its own layout, and its product."""
    torch.manual_seed(1)
    x, w = torch.randn(tokens, ins), torch.randn(outs, ins) * 0.02
    if kind == "nf4":
        import bitsandbytes as bnb
        import bitsandbytes.functional as F

        packed, state = F.quantize_4bit(w, blocksize=64, quant_type="nf4")
        tensors = {"w.weight": packed, "x": x}
        tensors.update({f"w.weight.{key}": value for key, value in state.as_dict(packed=True).items()})
        path = f"{WORK}/nf4.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
        transposed = packed.t()
        return dict(case="product", file=path), lambda: bnb.matmul_4bit(x, transposed, state), 0.5 + 4 / 64
    from hqq.core.quantize import BaseQuantizeConfig, HQQBackend, HQQLinear

    HQQLinear.set_backend(HQQBackend.PYTORCH)
    linear = torch.nn.Linear(ins, outs, bias=False)
    linear.weight.data = w
    layer = HQQLinear(linear, BaseQuantizeConfig(nbits=4, group_size=64, axis=1), compute_dtype=torch.float32, device="cpu")
    tensors = {"x": x}
    for key, value in layer.state_dict_save().items() if hasattr(layer, "state_dict_save") else layer.state_dict().items():
        if isinstance(value, torch.Tensor):
            tensors[f"w.{key}"] = value.data
    path = f"{WORK}/hqq.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return dict(case="product", file=path), lambda: layer(x), 0.5 + 8 / 64


def four_bit(kind, tokens, threads):
    outs, ins = sizes(4096, 4096)
    tokens = min(tokens, 64) if SMALL else tokens
    opened, run, bytes_a_weight = four_bit_operands(kind, tokens, outs, ins)
    with torch.no_grad():
        expected = run().numpy()
    peer = {"nf4": "bitsandbytes nf4", "hqq": "hqq 4 bit"}[kind]

    def peers():
        with torch.no_grad():
            run()

    if tokens == 1:
        row(f"4-bit matrix-vector {outs} x {ins}", peer, opened, peers, lambda: relative(OURS.result(), expected), 1e-4,
            1e-9 * outs * ins, "Gweights/s", "ahead", threads, rounds=min(ROUNDS, 3), cost=("read", bytes_a_weight * outs * ins))
    else:
        row(f"4-bit GEMM {tokens} x {outs} x {ins}", peer, opened, peers, lambda: relative(OURS.result(), expected), 1e-4,
            2e-9 * tokens * outs * ins, "GFLOP/s", "within 10 % of own f32", threads, rounds=min(ROUNDS, 3),
            cost=("fma", 2.0 * tokens * outs * ins))


class Ggml:
    """y = W x by ggml's own graph, W in Q4_0."""

    Q4_0, F32 = 2, 0

    class Params(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]

    def __init__(self):
        import llama_cpp

        folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
        self.base = ctypes.CDLL(os.path.join(folder, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.cpu = ctypes.CDLL(os.path.join(folder, "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        pointer, long = ctypes.c_void_p, ctypes.c_int64
        for name, result, parameters in [
            ("ggml_init", pointer, [Ggml.Params]),
            ("ggml_free", None, [pointer]),
            ("ggml_new_tensor_2d", pointer, [pointer, ctypes.c_int, long, long]),
            ("ggml_mul_mat", pointer, [pointer, pointer, pointer]),
            ("ggml_new_graph", pointer, [pointer]),
            ("ggml_build_forward_expand", None, [pointer, pointer]),
            ("ggml_get_data", pointer, [pointer]),
            ("ggml_quantize_chunk", ctypes.c_size_t, [ctypes.c_int, pointer, pointer, long, long, long, pointer]),
        ]:
            function = getattr(self.base, name)
            function.restype, function.argtypes = result, parameters
        self.cpu.ggml_cpu_init()
        self.cpu.ggml_graph_compute_with_ctx.restype = ctypes.c_int
        self.cpu.ggml_graph_compute_with_ctx.argtypes = [pointer, pointer, ctypes.c_int]

    def product(self, w, x, threads):
        """The blocks of W, what runs the product, and what reads its result."""
        outs, ins = w.shape
        size = outs * ins // 32 * 18
        context = self.base.ggml_init(Ggml.Params(size + (192 << 20), None, False))
        weight = self.base.ggml_new_tensor_2d(context, Ggml.Q4_0, ins, outs)
        vector = self.base.ggml_new_tensor_2d(context, Ggml.F32, ins, 1)
        blocks = self.base.ggml_get_data(weight)
        self.base.ggml_quantize_chunk(Ggml.Q4_0, w.ctypes.data, blocks, 0, outs, ins, None)
        ctypes.memmove(self.base.ggml_get_data(vector), x.ctypes.data, 4 * ins)
        product = self.base.ggml_mul_mat(context, weight, vector)
        graph = self.base.ggml_new_graph(context)
        self.base.ggml_build_forward_expand(graph, product)
        packed = np.ctypeslib.as_array(ctypes.cast(blocks, ctypes.POINTER(ctypes.c_uint8)), (size,)).copy()

        def run():
            # The context's pool grows with each call's plan: a mark of its own is not exposed, so the pool is large.
            status = self.cpu.ggml_graph_compute_with_ctx(context, graph, threads)
            if status != 0:
                raise RuntimeError(f"ggml: status {status}")

        def result():
            data = self.base.ggml_get_data(product)
            return np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), (outs,)).copy()

        return packed, run, result, lambda: self.base.ggml_free(context)


def ggml_vector(outs, ins, threads):
    outs, ins = sizes(outs, ins)
    random = np.random.default_rng(2)
    w = random.standard_normal((outs, ins), dtype=np.float32) * 0.02
    x = random.standard_normal((1, ins), dtype=np.float32)
    packed, run, result, free = Ggml().product(w, x, threads)
    path = save("q4_0", x=torch.from_numpy(x), w__blocks=torch.from_numpy(packed))
    run()
    # ggml rounds the activations to 8 bits: about 0.4 % of the result's size.
    row(f"4-bit matrix-vector {outs} x {ins}", "llama.cpp Q4_0",
        dict(case="product", file=path, type="q4_0", out_features=outs, in_features=ins), run,
        lambda: relative(OURS.result(), result()), 2e-2, 1e-9 * outs * ins, "Gweights/s", "ahead; 85 % of the bandwidth", threads,
        cost=("read", 18 / 32 * outs * ins), seconds=min(SECONDS, 0.3))
    free()


def hqq_quantizer(threads):
    from hqq.core.quantize import Quantizer

    outs, ins = sizes(2048, 4096)
    torch.manual_seed(3)
    w = torch.randn(outs, ins) * 0.02
    path = save("quantize", w__weight=w)
    found = {}

    def run():
        found["codes"] = Quantizer.quantize(w.clone(), nbits=4, group_size=64, axis=1, round_zero=True, device="cpu", compute_dtype=torch.float32)[0]

    def check():
        return float(np.mean(OURS.result(np.uint8) != found["codes"].numpy().ravel()))

    row(f"HQQ quantizer {outs} x {ins}", "hqq", dict(case="quantize", file=path), run, check, 0.0, 1e-6 * outs * ins, "Mweights/s",
        ">= 20 x", threads, rounds=2, seconds=0 if not SMALL else SECONDS, warm=6)


def step_model(quantized):
    import transformers

    path = f"{WORK}/model-{quantized}"
    config = transformers.LlamaConfig(
        hidden_size=64 if SMALL else 576, intermediate_size=128 if SMALL else 1536, num_hidden_layers=2 if SMALL else 30,
        num_attention_heads=4 if SMALL else 9, num_key_value_heads=2 if SMALL else 3, vocab_size=512 if SMALL else 49152,
        max_position_embeddings=2048, rope_theta=100000.0, tie_word_embeddings=True, attention_dropout=0.0,
        bos_token_id=1, eos_token_id=2)
    if not os.path.exists(f"{WORK}/model-f32"):
        torch.manual_seed(4)
        transformers.LlamaForCausalLM(config).save_pretrained(f"{WORK}/model-f32")
    if quantized == "f32":
        return path, transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    if quantized == "bf16":
        return f"{WORK}/model-f32", transformers.AutoModelForCausalLM.from_pretrained(f"{WORK}/model-f32", dtype=torch.bfloat16)
    four_bit_config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        f"{WORK}/model-f32", quantization_config=four_bit_config, dtype=torch.float32, device_map={"": "cpu"})
    model.save_pretrained(path)
    return path, model


TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def peft_config(kind):
    import peft

    return {
        "lora": lambda: peft.LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, lora_dropout=0.0),
        "dora": lambda: peft.LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, lora_dropout=0.0, use_dora=True),
        "delora": lambda: peft.DeloraConfig(r=16, target_modules=TARGETS),
        "ia3": lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
        "hra": lambda: peft.HRAConfig(r=4, target_modules=TARGETS),
    }[kind]()


def step(kind, base, goal, threads):
    import peft

    path, model = step_model(base)
    torch.manual_seed(5)
    if base == "nf4":
        for parameter in model.parameters():
            parameter.requires_grad_(False)
    tuned = peft.get_peft_model(model, peft_config(kind))
    adapter = f"{WORK}/adapter-{kind}-{base}"
    tuned.save_pretrained(adapter)
    tuned.train()
    rows, length = (2, 16) if SMALL else (4, 256)
    ids = torch.randint(0, model.config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(6))
    rate = 1e-3
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    losses = []

    def run():
        optimizer.zero_grad()
        loss = tuned(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    run()

    def check():
        ours = OURS.result()
        return max(abs(a - b) / b for a, b in zip(ours[:2], losses[:2]))

    row(f"{kind} step, {rows} x {length} tokens" + (", rank 4" if kind == "hra" else ""), f"PEFT {base}",
        dict(case="step", model=path, adapter=adapter, rows=ids.tolist(), lr=rate), run, check, 1e-2 if base == "bf16" else 1e-4,
        rows * length, "tokens/s", goal, threads, rounds=2, seconds=0, warm=4)
    del tuned, model, optimizer
    gc.collect()


GGUF_TYPES = {"F32": 0, "Q4_0": 2, "Q4_1": 3}


def gguf(type_name):
    import llama_cpp

    path = f"{WORK}/{type_name}.gguf"
    if not os.path.exists(path):
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = GGUF_TYPES[type_name]
        parameters.allow_requantize = True
        parameters.nthread = ARGS.threads
        status = llama_cpp.llama_model_quantize(ARGS.gguf.encode(), path.encode(), ctypes.byref(parameters))
        if status != 0:
            raise RuntimeError(f"llama.cpp could not make {type_name} of {ARGS.gguf}")
    return path


def text(case, type_name, goal, threads):
    import llama_cpp

    path = gguf(type_name)
    length = 32 if SMALL else (512 if case == "prompt" else 64)
    model = llama_cpp.Llama(path, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    ids = [1] + [int(i) for i in np.random.default_rng(7).integers(100, 40000, length - 1)]

    def run():
        if case == "prompt":
            model.reset()
            model.eval(ids)
        else:
            model.n_tokens = length - 1
            model.eval(ids[-1:])

    model.eval(ids)

    def check():
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model._ctx.ctx, -1), (model.n_vocab(),))
        return relative(OURS.result(), logits)

    row("prompt of %d tokens" % length if case == "prompt" else "one token after %d" % (length - 1), f"llama.cpp {type_name}",
        dict(case=case, model=path, tokens=ids), run, check, 5e-2, length if case == "prompt" else 1, "tokens/s", goal, threads,
        rounds=min(ROUNDS, 3) if case == "prompt" else ROUNDS)
    model.close()


def version(package):
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def commit():
    folder = os.path.dirname(os.path.abspath(__file__))
    git = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=folder, capture_output=True, text=True)
    return git.stdout.strip() or "unknown commit"


def processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def table():
    measured = [r for r in ROWS if "ratio" in r]
    packages = ["torch", "transformers", "peft", "hqq", "bitsandbytes", "llama-cpp-python"]
    lines = [
        "# Peers, in one run",
        "",
        "Made by `jmh/peers/run`: both sides in turns on the same weights and inputs, results compared in the same run; a ratio is the",
        "median over rounds of the peer's best time over ours, with the least and the most round behind it. Share is of the",
        "multiply-add peak or of the read bandwidth, measured right after the row with as many threads.",
        "",
        f"{datetime.date.today()}, Vectune {commit()}; {processor()}, {os.cpu_count()} cores; "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f"; Python {platform.python_version()}.",
    ]
    for threads in sorted({r["threads"] for r in measured}):
        limits = [r for r in measured if r["threads"] == threads]
        fma, read = [r["fma"] for r in limits], [r["read"] for r in limits]
        lines.append(
            f"Limits with {threads} thread{'s' if threads > 1 else ''}, least and most of all rows: multiply-add peak"
            f" {min(fma):.0f} to {max(fma):.0f} GFLOP/s, read bandwidth {min(read):.0f} to {max(read):.0f} GB/s.")
    lines += ["", "| work | threads | peer | peer's | ours | ratio | share of limit | difference of results | goal |",
              "|---|---|---|---|---|---|---|---|---|"]
    for r in ROWS:
        if "ratio" not in r:
            lines.append(f"| {r['work']} | {r['threads']} | {r['peer']} | | | {r.get('failed', 'left out: no time')} | | | |")
            continue
        share = "" if r["share"] is None else f"{r['share']:.0f} % of {'the peak' if r['limit'] == 'fma' else 'the bandwidth'}"
        figure = "%.1f" if r["ours"] < 100 else "%.0f"
        lines.append(
            f"| {r['work']} | {r['threads']} | {r['peer']} | {figure % r['theirs']} | {figure % r['ours']} {r['unit']} |"
            f" **{r['ratio']:.2f}** ({r['least']:.2f} to {r['most']:.2f}) | {share} | {r['error']:.1e} | {r['goal']} |")
    return "\n".join(lines) + "\n"


def main():
    many = ARGS.threads
    for threads in sorted({1, many}):
        attempt(gemm_f32, threads)
    attempt(four_bit, "nf4", 1, many)
    attempt(four_bit, "hqq", 1, many)
    attempt(ggml_vector, 4096, 4096, many)
    attempt(ggml_vector, 16384, 8192, many)
    if ARGS.gguf:
        for type_name, goal in (("Q4_1", "ahead"), ("Q4_0", "ahead, after Q4_1")):
            attempt(text, "token", type_name, goal, many)
        for type_name, goal in (("F32", "ahead"), ("Q4_0", "ahead, after F32")):
            attempt(text, "prompt", type_name, goal, many)
    attempt(step, "lora", "f32", ">= 2.5 x", many)
    attempt(step, "lora", "bf16", "ahead", many)
    attempt(step, "lora", "nf4", "within 10 % of our dense step", many)
    attempt(four_bit, "nf4", 512, many)
    attempt(four_bit, "hqq", 512, many)
    attempt(hqq_quantizer, many)
    attempt(step, "dora", "f32", "<= 1.1 x the time of our LoRA", many)
    attempt(step, "delora", "f32", "ahead", many)
    attempt(step, "ia3", "f32", "ahead", many)
    attempt(step, "hra", "f32", "ahead", many)
    with open(ARGS.out, "w") as out:
        out.write(table())
    print(table())
    return 1 if any("failed" in r for r in ROWS) else 0


OURS = Ours(ARGS.worker)
try:
    code = main()
finally:
    OURS.process.stdin.close()
    OURS.process.wait(timeout=20)
    shutil.rmtree(WORK, ignore_errors=True)
sys.exit(code)
