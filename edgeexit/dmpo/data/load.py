"""From the table ``[data]`` to the three sets of a tuning run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.datasets import CLASSES, FUNCTION, LABELS, Dataset, call_function, load_dataset
from edgeexit.dmpo.config import DataConfig, TuneConfig
from edgeexit.dmpo.data.check import check_classes, check_same_inputs
from edgeexit.dmpo.data.dataset import IMAGE, LabelledSet, Labels, TuneData, specs_of
from edgeexit.dmpo.data.fault import data_error, is_unicode
from edgeexit.dmpo.data.images import as_images, is_images, read_folder
from edgeexit.dmpo.data.split import split_rows
from edgeexit.dmpo.data.texts import SUFFIXES, Texts, read_texts
from edgeexit.dmpo.data.tokens import tokenize


@dataclass(frozen=True)
class _Loaded:
    samples: LabelledSet
    classes: tuple[str, ...]


def load_tune_data(config: TuneConfig) -> TuneData:
    """Return the data of a tuning run: read, checked, tokenized and split.

    Texts become ``input_ids`` and ``attention_mask``, images ``image``; other arrays keep their
    names. The split depends on ``training.seed``. What the backbone takes is checked by
    :func:`edgeexit.dmpo.data.check.fit_inputs`, once there is one.

    Args:
        config: The tuning run.

    Raises:
        InputError: Data is missing or unreadable, empty, of one class, without a training sample
            of a class, not finite, or its parts do not fit together.
        ModelError: The tokenizer cannot be loaded.
    """
    data = config.data
    _check_sources(data)
    whole = _load(config, "train", data.train, None)
    check_classes(whole.samples.labels, whole.classes, f"data.train, {data.train},")
    _check_images(data, whole.samples)
    inputs = specs_of(whole.samples.inputs)
    shares = {"validation": data.validation, "calibration": data.calibration}
    drawn = {name: share for name, share in shares.items() if not isinstance(share, str)}
    rows = split_rows(
        whole.samples.labels, list(drawn.values()), config.training.seed, whole.samples.group
    )
    parts = {"train": whole.samples.take(rows[0])}
    for (name, share), taken in zip(drawn.items(), rows[1:], strict=True):
        _check_share(name, share, len(taken), len(whole.samples))
        parts[name] = whole.samples.take(taken)
    for name, source in shares.items():
        if isinstance(source, str):
            parts[name] = _load(config, name, source, whole).samples
            check_same_inputs(parts[name], inputs, f"data.{name}, {source},")
    return TuneData(
        parts["train"], parts["validation"], parts["calibration"], whole.classes, inputs
    )


def _load(config: TuneConfig, setting: str, source: str, known: _Loaded | None) -> _Loaded:
    """Return one source; ``known`` is the training data, whose classes the others must have."""
    path = Path(source)
    if path.is_dir():
        images, labels, names = read_folder(path, config.data.size)
        given = {IMAGE: images, LABELS: labels, CLASSES: np.asarray(names)}
        return _arrays(given, source, config.data, known)
    if path.suffix.lower() in SUFFIXES:
        if not path.is_file():
            raise data_error(
                f"data.{setting} is {source!r}, which does not exist.",
                "missing",
                "give the path of the table; a relative one counts from the config's folder.",
            )
        return _tokens(read_texts(path, config.data.text, config.data.label), config, known)
    if not path.exists() and FUNCTION.fullmatch(source):
        result = call_function(source)
        texts = _texts_of(result, config.data, source)
        if texts is not None:
            return _tokens(texts, config, known)
        return _arrays(result, source, config.data, known)
    return _arrays(source, source, config.data, known)


def _texts_of(result: Mapping[Any, Any], data: DataConfig, where: str) -> Texts | None:
    """Return what a function gave as texts and labels; None where it gave arrays."""
    if data.text not in result or data.label not in result:
        return None
    texts = _listed(result[data.text], data.text, where)
    labels = [str(label) for label in _listed(result[data.label], data.label, where)]
    if len(texts) != len(labels) or not texts:
        raise data_error(
            f"{where} returned {len(texts)} texts and {len(labels)} labels; one label a text was "
            "expected.",
            "lengths",
            "return lists of one length.",
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip() or not is_unicode(text):
            raise data_error(
                f"text {number} of {where} is {ascii(text)[:60]}; words were expected.",
                "blank",
                "remove it, or fill it in.",
            )
    return Texts(texts, labels, where)


def _listed(values: Any, name: str, where: str) -> list[Any]:
    if isinstance(values, str) or not np.iterable(values):
        raise data_error(
            f"{where} returned {type(values).__name__} as {name!r}; a list was expected.",
            "type",
            "return one text and one label a sample.",
        )
    return list(values)


def _tokens(texts: Texts, config: TuneConfig, known: _Loaded | None) -> _Loaded:
    classes = known.classes if known else _sorted_names(set(texts.labels))
    places = {name: number for number, name in enumerate(classes)}
    for row, label in enumerate(texts.labels):
        if label not in places:
            raise data_error(
                f"label {label!r} of text {row} of {texts.where} is no class of the training "
                f"data, which has {len(classes)}: {', '.join(classes[:20])}.",
                "class-missing",
                "add samples of it to the training data, or correct the label.",
            )
    labels: Labels = np.asarray([places[label] for label in texts.labels], dtype=np.int64)
    inputs = tokenize(texts.texts, config.backbone, config.data.length)
    return _Loaded(LabelledSet(inputs, labels), classes)


def _sorted_names(names: set[str]) -> tuple[str, ...]:
    """Return names in order; numbers as numbers, so that class 10 does not precede class 2."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _arrays(
    source: str | Mapping[Any, Any], where: str, data: DataConfig, known: _Loaded | None
) -> _Loaded:
    found = load_dataset(source, need_labels=True, classes=known.classes if known else None)
    assert found.labels is not None
    classes = known.classes if known else found.classes or _numbered(found.labels, where)
    samples = LabelledSet(_as_inputs(found, data, where), found.labels, found.group)
    return _Loaded(samples, classes)


def _numbered(labels: Labels, where: str) -> tuple[str, ...]:
    """Return the names of classes that have numbers only."""
    count = int(labels.max()) + 1
    if count > len(labels):
        # Checked before a list of names is made: a label may be as large as 2**31.
        gap = int(np.setdiff1d(np.arange(len(labels) + 1), labels)[0])
        raise data_error(
            f"{where} has labels up to {count - 1} and no sample of class {gap}; every class "
            "needs one.",
            "class-missing",
            "number the classes from 0 without gaps.",
        )
    return tuple(str(number) for number in range(count))


def _as_inputs(found: Dataset, data: DataConfig, where: str) -> dict[str, Any]:
    """Return the arrays; a single one of raw images as ``image``, channels first."""
    arrays = dict(found.inputs)
    if len(arrays) != 1:
        return arrays
    ((name, array),) = arrays.items()
    return {IMAGE: as_images(array, data.size, where)} if is_images(array) else {name: array}


def _check_images(data: DataConfig, samples: LabelledSet) -> None:
    """Check that settings for images meet images."""
    if set(samples.inputs) == {IMAGE} and samples.inputs[IMAGE].dtype == np.uint8:
        return
    for name in ("size", "mean", "std", "augment", "flip"):
        if getattr(data, name):
            raise data_error(
                f"data.{name} is for images as uint8; {data.train} holds "
                f"{', '.join(samples.inputs)}.",
                "images",
                f"leave data.{name} out, or prepare these inputs yourself.",
            )


def _check_share(name: str, share: float, taken: int, whole: int) -> None:
    if share > 0 and taken == 0:
        raise data_error(
            f"data.{name} is {share:g} of {whole} samples, which is none.",
            "empty",
            "give a larger share, or more data; 0 goes without.",
        )


def _check_sources(data: DataConfig) -> None:
    """Check that no two of the three sets are read from one source."""
    given = {name: getattr(data, name) for name in ("train", "validation", "calibration")}
    named = [(name, source) for name, source in given.items() if isinstance(source, str)]
    for (first, one), (second, other) in itertools.combinations(named, 2):
        if one == other or _same_file(Path(one), Path(other)):
            raise data_error(
                f"data.{second} and data.{first} are both {other}; what was learned or chosen on "
                "samples says nothing of new ones.",
                "same",
                f"give data.{second} as a share of the training data, for example 0.1.",
            )


def _same_file(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)
