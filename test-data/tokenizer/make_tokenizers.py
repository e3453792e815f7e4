"""Trains small tokenizers in the styles of published models and records what the real library does with TEXTS.

    python make_tokenizers.py                 all
    python make_tokenizers.py --tiny-llama    only the goldens of the tiny model's tokenizer and the chat templates
"""

import argparse
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE.parent / "tiny-llama" / "scripts"))
import golden

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import language
from texts import CONVERSATIONS, TEXTS

PACKAGES = ["transformers", "tokenizers", "jinja2"]
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def special(text, **options):
    return AddedToken(text, special=True, normalized=False, **options)


def plain(text, **options):
    return AddedToken(text, special=False, normalized=False, **options)


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )


STYLES = {
    "gpt2": {
        "pre": pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        "post": processors.ByteLevel(trim_offsets=False),
        "special": [special("<|endoftext|>"), special("<mask>", lstrip=True)],
        "later": [plain("<word>", single_word=True)],
        "old_merges": True,
    },
    "gpt2-prefix-space": {
        "pre": pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True),
        "post": processors.ByteLevel(trim_offsets=True),
        "special": [special("<|endoftext|>"), special("<mask>", lstrip=True, rstrip=True)],
        "later": [],
    },
    "llama3": {
        "pre": split_then_bytes(LLAMA3_SPLIT),
        "special": [],
        "later": [special("<|begin_of_text|>"), special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>")],
        "bos": "<|begin_of_text|>",
        "ignore_merges": True,
    },
    "qwen2": {
        "pre": split_then_bytes(QWEN2_SPLIT),
        "normalizer": normalizers.NFC(),
        "post": processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        "special": [],
        "later": [
            special("<|endoftext|>"),
            special("<|im_start|>"),
            special("<|im_end|>"),
            plain("<tool_call>"),
            plain("</tool_call>"),
        ],
        "old_merges": True,
    },
    "smollm2": {
        "pre": pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
            ]
        ),
        "special": [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>")],
        "later": [],
    },
}


def corpus():
    """Stories, then each test text a few times, so that there are merges in code, spaces and other scripts too."""
    rng = random.Random(31)
    rows = [language.document(rng) for _ in range(300)]
    rows += [text for text in TEXTS for _ in range(6)]
    return rows


def train(name):
    style = STYLES[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=style.get("ignore_merges", False)))
    if "normalizer" in style:
        tokenizer.normalizer = style["normalizer"]
    tokenizer.pre_tokenizer = style["pre"]
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    tokenizer.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=style["special"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    if style["later"]:
        tokenizer.add_tokens([token for token in style["later"] if not token.special])
        tokenizer.add_special_tokens([token for token in style["later"] if token.special])
    if "bos" in style:
        bos = style["bos"]
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
                ),
            ]
        )
    elif "post" in style:
        tokenizer.post_processor = style["post"]
    path = HERE / name / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads(tokenizer.to_str())
    if style.get("old_merges"):  # the form of files written before tokenizers 0.20: "a b" instead of ["a", "b"]
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(path))


def write_golden(name, tokenizer):
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_without_special": tokenizer.encode(text, add_special_tokens=False).ids,
                "decoded": tokenizer.decode(ids, skip_special_tokens=True),
                "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False),
            }
        )
    rng = random.Random(5)
    size = tokenizer.get_vocab_size()
    loose = [[], [0], [size - 1]] + [[rng.randrange(size) for _ in range(rng.randint(1, 12))] for _ in range(40)]
    for text in ("\u4f60\u597d", "\U0001f600", "\u00e9"):  # cut inside a character
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        loose += [ids[:end] for end in range(1, len(ids))] + [ids[start:] for start in range(1, len(ids))]
    decodes = [
        {
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=True),
            "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False),
        }
        for ids in loose
    ]
    path = HERE / "goldens" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"script": "tokenizer/make_tokenizers.py", "versions": golden.versions(*PACKAGES), "tokenizer": name}
    body = json.dumps(head)[:-1] + f', "vocabulary_size": {size},\n"cases": [\n'
    body += ",\n".join(json.dumps(case) for case in cases) + '\n],\n"decodes": [\n'
    body += ",\n".join(json.dumps(case) for case in decodes) + "\n]}\n"
    json.loads(body)
    path.write_text(body)
    print(f"{name}: vocabulary {size}, {len(cases)} texts, {path.stat().st_size} bytes")


def write_chat(tiny):
    """Renders CONVERSATIONS with every template of templates/ through transformers."""
    templates = {
        "tiny-llama": (tiny["chat_template"], {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
        "smollm2": ("smollm2.jinja", {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
        "llama3": ("llama3.jinja", {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
        "qwen2": ("qwen2.jinja", {"bos_token": None, "eos_token": "<|im_end|>"}),
    }
    shown, cases = {}, []
    for name, (template, tokens) in templates.items():
        if template.endswith(".jinja"):
            template = (HERE / "templates" / template).read_text()
        wrapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **tokens)
        shown[name] = {"template": template, **tokens}
        for about, messages, tools in CONVERSATIONS:
            for prompt in (False, True):
                case = {"template": name, "about": about, "messages": messages, "add_generation_prompt": prompt}
                if tools:
                    case["tools"] = tools
                try:
                    case["rendered"] = wrapped.apply_chat_template(
                        messages, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=prompt
                    )
                except Exception as error:
                    case["error"] = str(error)
                cases.append(case)
    path = HERE / "goldens" / "chat.json"
    head = {"script": "tokenizer/make_tokenizers.py", "versions": golden.versions(*PACKAGES), "templates": shown}
    body = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n"
    json.loads(body)
    path.write_text(body)
    print(f"chat: {len(cases)} cases, {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny-llama", action="store_true")
    arguments = parser.parse_args()
    golden.deterministic(0)
    if not arguments.tiny_llama:
        for name in STYLES:
            write_golden(name, train(name))
    write_golden("tiny-llama", Tokenizer.from_file(str(golden.TINY_LLAMA / "tokenizer.json")))
    write_chat(json.loads((golden.TINY_LLAMA / "tokenizer_config.json").read_text()))


if __name__ == "__main__":
    main()
