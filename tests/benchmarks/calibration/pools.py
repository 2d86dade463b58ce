"""Pools of real exit records, from which calibration sets are drawn with replacement.

A pool is the whole world of its simulation: its mean cost is the truth that a budget is held
against. Records are taken once and kept in the benchmarks' cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate import ExitRecords
from edgeexit.calibrate.collect import collect_records, read_data
from edgeexit.dmpo.config import AdapterConfig, BypassConfig, ExitsConfig
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.folders import cache_folder
from tests.benchmarks.models import DEMO, open_bundle

LAYERS = (1, 2, 3, 4, 5, 6)
TRAIN_TEXTS, POOL_TEXTS, LENGTH = 3000, 5000, 64
_BATCH = 50
_HEAD_STEPS, _HEAD_DECAY = 300, 3e-3

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Pool:
    """Exit records of one model on one data set, and what its exits cost.

    Attributes:
        name: Short name.
        title: What the tables call it.
        records: The records.
        table: Costs, as fractions of the static model's FLOPs.
    """

    name: str
    title: str
    records: ExitRecords
    table: CostTable

    def draw(self, samples: int, rng: np.random.Generator) -> ExitRecords:
        """Return samples drawn with replacement."""
        return self.records.take(rng.integers(0, len(self.records), samples))

    def clips(self, count: int, frames: int, rng: np.random.Generator) -> ExitRecords:
        """Return clips of frames that resemble each other, each with a group of its own.

        A frame is, with probability 0.7, one of the 2 % of the pool that are nearest to the
        clip's centre in the first exit's confidence, else any sample. Half of the variance of
        that score then lies between clips, and the mean over clips is the mean of the pool.
        """
        score = self.records.features[:, 0, self.records.gate.features.index("log_odds")]
        by_score = np.argsort(score, kind="stable")
        size = len(by_score)
        centre = np.repeat(rng.integers(0, size, count), frames)
        reach = size // 100
        near = by_score[(centre + rng.integers(-reach, reach + 1, len(centre))) % size]
        anywhere = rng.integers(0, size, len(centre))
        rows = np.where(rng.random(len(centre)) < NEAR, near, anywhere)
        group = np.repeat(np.arange(count, dtype=np.int64), frames)
        return dataclasses.replace(self.records.take(rows), group=group)


NEAR = np.sqrt(0.5)
"""Probability of a near frame; squared it is the share of variance between clips."""


def demo_pool(tell: Tell) -> Pool:
    """Return the packaged demo model on its test set, answered by its own compiled stages."""
    bundle = open_bundle(DEMO, "f32", tell)
    file = _kept("demo", bundle.digest)
    if not file.exists():
        tell("taking the demo's records")
        with Runtime(bundle, target="cpu", exits=False) as runtime:
            data = read_data(demo.evaluation_path(), bundle.manifest)
            collect_records(runtime, bundle.manifest, data).save(file)
    table = CostTable("flops", bundle.manifest.flops_costs, 1.0)
    title = "demo ViT, Fashion-MNIST test set"
    return Pool("demo", title, ExitRecords.load(file), table)


def news_pool(tell: Tell) -> Pool:
    """Return MiniLM with a linear exit after each of its six layers on 20 Newsgroups.

    The backbone is as it was published; only the exits are trained, on mean-pooled states.
    """
    file = _kept("news", f"{LAYERS} {TRAIN_TEXTS} {POOL_TEXTS} {LENGTH} {_HEAD_STEPS}")
    costs = file.with_suffix(".json")
    if not file.exists() or not costs.exists():
        tell("training six exits of MiniLM on 20 Newsgroups and taking their records (minutes)")
        logits, labels = _news_logits()
        from tests.benchmarks.methods.records import exit_records

        exit_records(logits, labels).save(file)
        costs.write_text(json.dumps(_news_costs()))
    table = CostTable("flops", tuple(json.loads(costs.read_text())), 1.0)
    return Pool("news", "MiniLM, 20 Newsgroups test set", ExitRecords.load(file), table)


POOLS: Mapping[str, Callable[[Tell], Pool]] = MappingProxyType(
    {"demo": demo_pool, "news": news_pool}
)
"""All pools by name."""


def _kept(name: str, key: str) -> Path:
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / f"records-{name}-{digest}.npz"


def _news_logits() -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Return the logits of six exits on texts that they were not trained on, and labels."""
    from tests.benchmarks.methods.sources import read_news

    rng = np.random.default_rng(0)
    states, labels = {}, {}
    for part, size in (("train", TRAIN_TEXTS), ("test", POOL_TEXTS)):
        samples = read_news(part, None)
        samples = samples.take(np.sort(rng.permutation(len(samples))[:size]))
        states[part] = _states([str(text) for text in samples.inputs])
        labels[part] = samples.labels
    pairs = zip(states["train"], states["test"], strict=True)
    return [_answer(seen, labels["train"], new) for seen, new in pairs], labels["test"]


def _states(texts: list[str]) -> list[npt.NDArray[np.float32]]:
    """Return each layer's mean over the tokens, ``(n, 384)``."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from tests.benchmarks.methods.sources import MINILM, wheel_folder

    torch.set_num_threads(1)
    folder = str(wheel_folder(MINILM))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    found: list[list[npt.NDArray[np.float32]]] = [[] for _ in LAYERS]
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(
            texts[start : start + _BATCH],
            truncation=True, max_length=LENGTH, padding=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            hidden = model(**tokens, output_hidden_states=True).hidden_states
        mask = tokens["attention_mask"][..., None]
        for place, layer in enumerate(LAYERS):
            mean = (hidden[layer] * mask).sum(dim=1) / mask.sum(dim=1)
            found[place].append(mean.numpy())
    return [np.concatenate(parts) for parts in found]


def _answer(
    seen: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], new: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the logits ``(n, C)`` of a linear softmax classifier trained on ``seen``."""
    import torch

    torch.manual_seed(0)
    mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    inputs = torch.from_numpy((seen - mean) / scale)
    layer = torch.nn.Linear(inputs.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=_HEAD_DECAY)
    wanted = torch.from_numpy(labels)
    for _ in range(_HEAD_STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(inputs), wanted)
        (loss + _HEAD_DECAY * layer.weight.square().sum()).backward()
        optimizer.step()
    with torch.no_grad():
        logits: npt.NDArray[np.float32] = layer(torch.from_numpy((new - mean) / scale)).numpy()
    return logits


def _news_costs() -> tuple[float, ...]:
    """Return the costs of six linear exits and their gates, counted on the exported graph."""
    from tests.benchmarks.methods.costs import count_flops
    from tests.benchmarks.methods.data import on_this_machine
    from tests.benchmarks.methods.recipes import RECIPES
    from tests.benchmarks.methods.sources import NEWS_CLASSES, Places

    config = on_this_machine(RECIPES["news"].config, Places())
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, length=LENGTH),
        exits=ExitsConfig(after=LAYERS, predictor="linear", last="linear"),
        bypass=BypassConfig(width=0),
        adapter=AdapterConfig(kind="none"),
    )
    counted = count_flops(config, NEWS_CLASSES)
    return counted.costs(counted.alone[-1])
