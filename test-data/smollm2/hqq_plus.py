"""What low-rank corrections give back to SmolLM2 in 4, 3, 2 and 1 bit: the table of docs/benchmarks/hqq-plus.md.

    python test-data/smollm2/hqq_plus.py VECTUNE smollm2.gguf FOLDER

The text is the model's own, sampled at temperature 1 from the prompts below: then the loss of the dense model is its
entropy, and what quantization adds is what it costs. 36 texts tune, the first 12 of them calibrate, 18 others are
measured. FOLDER keeps everything, so that a run that was stopped goes on where it was.
"""

import json
import pathlib
import subprocess
import sys

SUBJECTS = ["rivers and how they change their course", "the history of printing", "why bread rises", "how bees find flowers",
            "the care of old wooden boats", "a market in the morning", "the mathematics of maps", "how glass is made",
            "training for a long walk", "the first railways", "what makes a good question", "soil and the life in it",
            "clocks before electricity", "how birds learn songs", "the design of bridges", "a winter in the mountains",
            "learning to play the violin", "the tides"]
FORMS = ["Explain in detail", "Tell a short story about", "Write an encyclopedia entry about"]
WIDTHS = {"4": "64", "3": "64", "2": "16", "1": "8"}
RANK, STEPS = 32, 40


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr[-500:]}"
    return done.stdout


def write_text(program, model, folder):
    texts = []
    for index, (form, subject) in enumerate((form, subject) for form in FORMS for subject in SUBJECTS):
        file = folder / f"text-{index}.txt"
        if not file.exists():
            file.write_text(run(program, "generate", "--model", model, "--prompt", f"{form} {subject}.\n\n", "--max-tokens", 220,
                                "--temperature", 1, "--top-k", 0, "--top-p", 1, "--repetition-penalty", 1, "--seed", index))
        texts.append(file.read_text())
    test = [text for index, text in enumerate(texts) if index % 3 == 0]
    train = [text for index, text in enumerate(texts) if index % 3]
    for name, rows in (("test", test), ("train", train), ("calibration", train[:12])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


def main(program, gguf, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    write_text(program, gguf, folder)
    dense = folder / "dense"
    if not dense.exists():
        run(program, "dequantize", "--model", gguf, "--out", dense, "--dtype", "bf16")

    def loss(model, *more):
        return json.loads(run(program, "eval", "--model", model, "--data", folder / "test.jsonl", "--json", *more))["loss"]

    print("| bits (group) | stored bits a weight | plain | with correction | tuned from it |")
    print("|---|---|---|---|---|")
    print(f"| dense bf16 | 16 | {loss(dense):.4f} | | |", flush=True)
    for bits, group in WIDTHS.items():
        quantized, tuned = folder / f"q{bits}", folder / f"tuned{bits}"
        if not quantized.exists():
            run(program, "quantize", "--model", dense, "--out", quantized, "--method", "hqq", "--bits", bits, "--group-size",
                group, "--correction-rank", RANK, "--calibration", folder / "calibration.jsonl")
        report = json.loads((quantized / "quantization_report.json").read_text())
        if not tuned.exists():
            run(program, "tune", "--model", quantized, "--init-from", quantized / "correction", "--out", tuned, "--data",
                folder / "train.jsonl", "--steps", STEPS, "--batch-size", 2, "--lr", "2e-4", "--schedule", "cosine")
        corrected = report["bits_per_weight"] + 8 * report["correction_bytes"] / 2 / report["weights"]
        print(f"| {bits} ({group}) | {report['bits_per_weight']:.2f}, {corrected:.2f} with a bf16 correction | {loss(quantized):.4f} | "
              f"{loss(quantized, '--adapter', quantized / 'correction'):.4f} | {loss(quantized, '--adapter', tuned):.4f} |", flush=True)
    for target in ("2.5", "3"):
        for name, more in (("weights alone", []), ("calibrated", ["--calibration", folder / "calibration.jsonl"])):
            quantized = folder / f"t{target}{name[:1]}"
            if not quantized.exists():
                run(program, "quantize", "--model", dense, "--out", quantized, "--method", "hqq", "--target-bits", target,
                    *more)
            report = json.loads((quantized / "quantization_report.json").read_text())
            print(f"| --target-bits {target}, {name} | {report['bits_per_weight']:.3f} | {loss(quantized):.4f} | | |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
