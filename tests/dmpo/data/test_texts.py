"""Tables of texts, their tokens, and what each mistake in them is told."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.dmpo.config import BackboneConfig
from edgeexit.dmpo.data.texts import read_texts
from edgeexit.dmpo.data.tokens import tokenize
from edgeexit.errors import InputError, ModelError

ROWS = (("warm", "red and red"), ("cold", "blue"), ("warm", "red green blue"))


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.jsonl", "DATA.CSV"])
def test_texts_and_labels_come_in_order(write_texts, name):
    found = read_texts(write_texts(name, ROWS), "text", "label")
    assert found.texts == [text for _, text in ROWS]
    assert found.labels == [label for label, _ in ROWS]


def test_columns_of_any_name_quotes_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes('\ufeffbody,id,topic\r\n"a, ""b""\nc",7, x \r\n'.encode())
    found = read_texts(path, "body", "topic")
    assert (found.texts, found.labels) == (['a, "b"\nc'], ["x"])


def test_integer_labels_and_blank_lines_in_jsonl(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "red", "label": 3}\n\n{"text": "blue", "label": "4"}\n')
    assert read_texts(path, "text", "label").labels == ["3", "4"]


def test_a_text_longer_than_the_csv_modules_cap(write_texts):
    path = write_texts("data.csv", [("a", "red " * 100_000)])
    assert len(read_texts(path, "text", "label").texts[0]) == 400_000


@pytest.mark.parametrize(
    ("name", "text", "code", "words"),
    [
        ("a.jsonl", '{"text": "\\ud800", "label": "x"}', "unreadable", ("line 1", "half a char")),
        ("a.csv", "", "empty", ("a.csv holds no rows",)),
        ("a.csv", "text,label\n", "empty", ("holds no rows",)),
        ("a.csv", "txt,label\nred,x\n", "column", ("has no 'text'", "txt, label", "data.text")),
        ("a.csv", "text,lbl\nred,x\n", "column", ("has no 'label'", 'data.label="text"')),
        ("a.csv", "text,label\nred,x\n  ,y\n", "blank", ("the text in line 3", "is empty")),
        ("a.csv", "text,label\nred\n", "blank", ("the label in line 2", "is empty")),
        ("a.csv", "text,label\nred,x\nblue,y,z\nred,\n", "blank", ("the label in line 4",)),
        ("a.jsonl", '{"text": "red"\n', "unreadable", ("line 1 of", "is no JSON")),
        ("a.jsonl", "[" * 100_000, "unreadable", ("is no JSON",)),
        ("a.jsonl", "[1]\n", "unreadable", ("JSON list; an object was expected",)),
        ("a.jsonl", '{"text": 5, "label": 1}\n', "type", ("'text' in line 1", "is 5")),
        ("a.jsonl", '{"text": "red", "label": true}\n', "type", ("'label'", "True")),
        ("a.jsonl", '{"text": "red", "label": 1.5}\n', "type", ("'label'", "1.5")),
        ("a.jsonl", '{"label": 1}\n', "column", ("has no 'text'; it has label",)),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, name, text, code, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_texts(tmp_path / name, "text", "label")
    assert caught.value.code == f"tune.data-{code}"
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match=r"a\.csv cannot be read"):
        read_texts(tmp_path / "a.csv", "text", "label")


class TestTokens:
    def test_tokens_are_padded_on_the_right_and_cut(self, tokenizer_folder):
        backbone = BackboneConfig(source=str(tokenizer_folder))
        found = tokenize(["red and red", "blue", "red green blue and yellow"], backbone, 6)
        assert found["input_ids"].tolist() == [
            [1, 4, 7, 4, 2, 0],
            [1, 6, 2, 0, 0, 0],
            [1, 4, 5, 6, 7, 2],
        ]
        assert found["attention_mask"].tolist() == [
            [1, 1, 1, 1, 1, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 1],
        ]
        assert {array.dtype for array in found.values()} == {np.dtype(np.int64)}

    def test_padding_that_the_file_brings_is_not_taken_for_text(self, tokenizer_folder, tmp_path):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
        tokenizer.enable_padding(length=12)
        tokenizer.enable_truncation(3)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        found = tokenize(["red green"], BackboneConfig(source=str(tmp_path)), 8)
        assert found["attention_mask"].sum() == 4

    def test_a_tokenizer_that_only_transformers_reads(self, tmp_path):
        words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue")
        (tmp_path / "vocab.txt").write_text("\n".join(words))
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        found = tokenize(["red blue red", "blue"], BackboneConfig(source=str(tmp_path)), 4)
        assert found["input_ids"].tolist() == [[2, 5, 6, 3], [2, 6, 3, 0]]
        assert found["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]

    def test_a_backbone_from_scratch_has_no_tokenizer(self):
        with pytest.raises(InputError, match=r"no source to take it from.*tokenizer\.json"):
            tokenize(["red"], BackboneConfig(), 8)

    def test_a_length_that_leaves_no_room(self, tokenizer_folder):
        backbone = BackboneConfig(source=str(tokenizer_folder))
        with pytest.raises(InputError, match=r"data\.length is 2; 2 special tokens.*give 3"):
            tokenize(["red"], backbone, 2)

    def test_a_damaged_tokenizer(self, tmp_path):
        (tmp_path / "tokenizer.json").write_text("{")
        with pytest.raises(ModelError, match=r"tokenizer of .*tokenizer\.json cannot be loaded"):
            tokenize(["red"], BackboneConfig(source=str(tmp_path)), 8)

    def test_a_folder_without_a_tokenizer(self, tmp_path):
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            tokenize(["red"], BackboneConfig(source=str(tmp_path)), 8)
        assert caught.value.code == "model.tokenizer"

    def test_a_folder_without_a_vocabulary(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(ModelError, match="it has no vocabulary") as caught:
            tokenize(["red"], BackboneConfig(source=str(tmp_path)), 8)
        assert caught.value.code == "model.tokenizer"

    def test_a_folder_in_the_home_folder(self, tokenizer_folder, monkeypatch):
        monkeypatch.setenv("HOME", str(tokenizer_folder.parent))
        monkeypatch.setenv("USERPROFILE", str(tokenizer_folder.parent))
        backbone = BackboneConfig(source=f"~/{tokenizer_folder.name}")
        assert tokenize(["red"], backbone, 4)["input_ids"].tolist() == [[1, 4, 2, 0]]
