"""Tunes the demo model and its plain twin on Fashion-MNIST, and writes what the demo needs.

Run ``python examples/01_tune_demo_vit/tune.py --data DIR --out edgeexit/demo``; see README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from export import check, export
from fashion import CALIBRATION_POOL, Split, load
from figures import BUDGET, accuracies, at_half_the_flops, count_costs
from tuning import decoupled_loss, joint_loss, logits_of, train
from vit import EXITS_AFTER, MultiExitViT

CALIBRATION_IMAGES = 4_000
TEST_IMAGES = 5_000
CHECKED_IMAGES = 1_000
MODEL_FILE = "fashion_vit.onnx"
CALIBRATION_FILE = "fashion_calibration.npz"
TEST_FILE = "fashion_test.npz"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="keep the tuned weights here, and do not tune again a model whose weights are here",
    )
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain twin")
    return parser.parse_args(arguments)


def tuned(options: argparse.Namespace, split: Split, *, decoupled: bool) -> MultiExitViT:
    """Return the model after tuning, or as its checkpoint has it."""
    name = "decoupled" if decoupled else "plain"
    torch.manual_seed(options.seed)
    model = MultiExitViT(decoupled=decoupled)
    kept = options.checkpoints / f"{name}.pt" if options.checkpoints else None
    if kept and kept.is_file():
        print(f"{name}: weights from {kept}")
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model
    print(f"{name}: {options.epochs} epochs of {len(split)} images")
    loss = decoupled_loss if decoupled else joint_loss
    train(model, split, loss, epochs=options.epochs, seed=options.seed)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), kept)
    return model


def measure(
    model: MultiExitViT, calibration: Split, whole: Split, shipped: Split
) -> dict[str, Any]:
    """Return costs and accuracies on the whole test set and on the part that is shipped."""
    costs = count_costs(model)
    fitted_on = logits_of(model, calibration)
    figures: dict[str, Any] = {
        "parameters": sum(value.numel() for value in model.parameters()),
        "static_flops": costs.static_flops,
        "cost_per_exit": costs.per_exit,
    }
    for name, split in (("whole_test", whole), ("shipped_test", shipped)):
        logits = logits_of(model, split)
        figures[name] = {
            "images": len(split),
            "accuracy_per_exit": accuracies(logits, split.y),
            "at_half_the_flops": asdict(at_half_the_flops(fitted_on, logits, split.y, costs)),
        }
    return figures


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print the table that README.md quotes."""
    exits = "".join(f"   exit {number}" for number in range(1, len(EXITS_AFTER) + 1))
    print(f"\n{'test accuracy':<24}{exits}   at {BUDGET} FLOPs")
    for name, values in figures.items():
        part = values["whole_test"]
        cells = "".join(f"{value:9.4f}" for value in part["accuracy_per_exit"])
        gated = part["at_half_the_flops"]
        print(f"{name:<24}{cells}   {gated['accuracy']:.4f} (cost {gated['cost']:.3f})")
        cells = "".join(f"{value:9.4f}" for value in values["cost_per_exit"])
        print(f"{'  cost of the exit':<24}{cells}")


def digest(path: Path) -> dict[str, Any]:
    """Return the size and the SHA-256 of a file."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def save_sets(options: argparse.Namespace) -> tuple[Split, Split, Split, Split]:
    """Write the two shipped sets; return training, calibration, whole test and shipped test set."""
    everything, whole_test = load(options.data, "train"), load(options.data, "t10k")
    pool_size = min(CALIBRATION_POOL, len(everything) // 4)
    pool, training = everything.stratified(pool_size, options.seed)
    calibration, _ = pool.stratified(CALIBRATION_IMAGES, options.seed)
    shipped_test, _ = whole_test.stratified(TEST_IMAGES, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    calibration.save(options.out / CALIBRATION_FILE)
    shipped_test.save(options.out / TEST_FILE)
    return training, calibration, whole_test, shipped_test


def save_recipe(options: argparse.Namespace, **measured: object) -> None:
    """Write ``recipe.json``: command, seed, versions, digests of the files, and ``measured``."""
    script = Path(__file__).resolve()
    recipe = {
        "command": f"python examples/{script.parent.name}/{script.name} --out edgeexit/demo "
        f"--epochs {options.epochs} --seed {options.seed}",
        "seed": options.seed,
        "epochs": options.epochs,
        **measured,
        "files": {
            name: digest(options.out / name) for name in (MODEL_FILE, CALIBRATION_FILE, TEST_FILE)
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "numpy": np.__version__,
        },
    }
    (options.out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune both models, then write the ONNX model, the two sets and the recipe to ``--out``."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    training, calibration, whole_test, shipped_test = save_sets(options)
    names = ("decoupled",) if options.no_plain else ("decoupled", "plain")
    models = {name: tuned(options, training, decoupled=name == "decoupled") for name in names}

    path = options.out / MODEL_FILE
    export(models["decoupled"], path, exits=len(EXITS_AFTER))
    checked = shipped_test.take(np.arange(min(CHECKED_IMAGES, len(shipped_test))))
    difference = check(models["decoupled"], path, checked)
    print(f"{path}: largest difference from torch {difference:.1e}, no prediction differs")

    figures = {
        name: measure(model, calibration, whole_test, shipped_test)
        for name, model in models.items()
    }
    show(figures)
    save_recipe(
        options,
        training_images=len(training),
        calibration_images=len(calibration),
        largest_difference_from_torch=difference,
        figures=figures,
    )


if __name__ == "__main__":
    main()
