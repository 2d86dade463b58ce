"""From texts to the numbers of their tokens, with the tokenizer of the pretrained backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.dmpo.config import BackboneConfig
from edgeexit.dmpo.data.dataset import MASK, TOKENS
from edgeexit.dmpo.packages import tune_packages
from edgeexit.errors import InputError, ModelError

FILE = "tokenizer.json"
"""What a fast tokenizer is stored as, beside the weights."""

_PADDING = ("[PAD]", "<pad>", "<|pad|>")
"""Padding tokens of BERT, of RoBERTa and T5, of later models."""

_CHUNK = 4096
"""Texts encoded at once; it bounds the memory of encodings, which hold offsets and words too."""

Encoder = Callable[[list[str]], list[list[int]]]
"""Texts in, the numbers of their tokens out, cut to the length, not padded."""


def tokenize(
    texts: Sequence[str], backbone: BackboneConfig, length: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Return ``input_ids`` and ``attention_mask``, each ``(n, length) int64``.

    Args:
        texts: The texts.
        backbone: Its ``source`` holds the tokenizer: ``tokenizer.json`` in a local folder, or
            what transformers finds there or under the hub name.
        length: Tokens a text is cut or padded to, special tokens included.

    Raises:
        InputError: The backbone has no ``source``, or ``length`` leaves no room for a text.
        ModelError: The tokenizer cannot be loaded, or a package is missing.
    """
    if backbone.source is None:
        raise InputError(
            "texts need a tokenizer, and the backbone has no source to take it from.",
            hint=f"name a folder with {FILE} in backbone.source.",
            code="tune.tokenizer",
        )
    encode, padding = _encoder(backbone.source, backbone.revision, length)
    ids = np.full((len(texts), length), padding, dtype=np.int64)
    mask = np.zeros((len(texts), length), dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        encoded = encode(list(texts[start : start + _CHUNK]))
        for row, numbers in enumerate(encoded, start=start):
            ids[row, : len(numbers)] = numbers
            mask[row, : len(numbers)] = 1
    return {TOKENS: ids, MASK: mask}


def _encoder(source: str, revision: str | None, length: int) -> tuple[Encoder, int]:
    file = Path(source).expanduser() / FILE
    if file.is_file():
        return _fast_encoder(file, length)
    return _transformers_encoder(source, revision, length)


def _fast_encoder(file: Path, length: int) -> tuple[Encoder, int]:
    with tune_packages():
        from tokenizers import Tokenizer
    try:
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as error:  # the reader in Rust raises bare Exceptions
        raise _unreadable(str(file), error) from error
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    _check_length(length, special)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=length)
    known = (tokenizer.token_to_id(token) for token in _PADDING)
    padding = next((number for number in known if number is not None), 0)

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    return encode, padding


def _transformers_encoder(source: str, revision: str | None, length: int) -> tuple[Encoder, int]:
    tokenizer = load_tokenizer(source, revision)
    _check_length(length, tokenizer.num_special_tokens_to_add())

    def encode(texts: list[str]) -> list[list[int]]:
        numbers: list[list[int]] = tokenizer(texts, truncation=True, max_length=length)[TOKENS]
        return numbers

    return encode, int(tokenizer.pad_token_id or 0)


def load_tokenizer(source: str, revision: str | None) -> Any:
    """Return the tokenizer that transformers finds in a folder or under a hub name.

    Raises:
        ModelError: There is none, or it cannot be loaded.
    """
    with tune_packages():
        from transformers import AutoTokenizer
    folder = Path(source).expanduser()
    place = str(folder) if folder.is_dir() else source
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            place, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:  # transformers raises OSError, ValueError, ImportError and more
        raise _unreadable(source, error) from error
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_tokens):
        # transformers makes one up where a folder has no vocabulary: every word would be unknown.
        raise _unreadable(source, ValueError("it has no vocabulary"))
    return tokenizer


def _check_length(length: int, special: int) -> None:
    if length <= special:
        raise InputError(
            f"data.length is {length}; {special} special tokens alone fill it.",
            hint=f"give {special + 1} or more, for example 128.",
            code="tune.length",
        )


def _unreadable(where: str, error: Exception) -> ModelError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"the tokenizer of {where} cannot be loaded: {reason[:200]}.",
        hint=f"give a folder with {FILE} in backbone.source, or the name of a model on the hub.",
        code="model.tokenizer",
    )
