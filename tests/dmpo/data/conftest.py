from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edgeexit.dmpo.config import BackboneConfig, DataConfig, ExitsConfig, TrainingConfig, TuneConfig

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "red", "green", "blue", "and")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    """A folder with a real ``tokenizer.json`` of eight words."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def tune_config(tokenizer_folder):
    """Return a config for data; ``source`` and ``seed`` go to their own tables."""

    def made(train, *, seed=0, source=tokenizer_folder, **settings):
        return TuneConfig(
            DataConfig(str(train), **settings),
            ExitsConfig((1,)),
            backbone=BackboneConfig(source=None if source is None else str(source)),
            training=TrainingConfig(seed=seed),
        )

    return made


@pytest.fixture
def write_texts(tmp_path):
    """Write ``(label, text)`` rows as csv, tsv or jsonl."""

    def written(name, rows, text="text", label="label"):
        path = tmp_path / name
        if path.suffix == ".jsonl":
            lines = [json.dumps({label: row[0], text: row[1]}) for row in rows]
        else:
            mark = "\t" if path.suffix == ".tsv" else ","
            lines = [f"{label}{mark}{text}", *(f"{row[0]}{mark}{row[1]}" for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return written


@pytest.fixture
def write_npz(tmp_path):
    def written(name="data.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return written
