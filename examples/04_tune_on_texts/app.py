"""An app that answers a sentence: the tokenizer, the bundle and nothing of torch.

Run ``python app.py "a sentence" ...`` where ``news.eex`` and ``tuned/`` are; see README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

import edgeexit

Tokens = npt.NDArray[np.int64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print label, exit and cost of every sentence."""
    parser = argparse.ArgumentParser(description="Labels sentences with a compiled bundle.")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--bundle", default="news.eex")
    parser.add_argument("--tokenizer", default="tuned/tokenizer.json")
    options = parser.parse_args(arguments)

    with edgeexit.Runtime(options.bundle) as runtime:
        tokenizer = load_tokenizer(options.tokenizer, model_length(runtime))
        result = runtime(tokenize(tokenizer, options.texts))
        classes = runtime.bundle.classes or ()
    for text, label, taken, cost in zip(
        options.texts, result.labels, result.exits, result.costs, strict=True
    ):
        print(f"{classes[label]} (exit {taken}, {cost:.2f} of the static model's FLOPs): {text}")


def model_length(runtime: edgeexit.Runtime) -> int:
    """Return the number of tokens that the model was tuned at."""
    return int(runtime.bundle.manifest.inputs[0].shape[1])


def load_tokenizer(path: str, length: int) -> Tokenizer:
    """Return the tokenizer of the tuned folder, set to cut or pad texts to ``length`` tokens."""
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_truncation(max_length=length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id("[PAD]"))
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Mapping[str, Tokens]:
    """Return ``input_ids`` and ``attention_mask``, each ``(n, length) int64``."""
    encoded = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.asarray([each.ids for each in encoded], dtype=np.int64),
        "attention_mask": np.asarray([each.attention_mask for each in encoded], dtype=np.int64),
    }


if __name__ == "__main__":
    main()
