"""A fake bundle: a well-formed manifest over small files that are no ONNX graphs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.budget import Budget
from edgeexit.bundle import Bundle, BundleWriter, CostTable, ExitFamily, Golden, Manifest
from edgeexit.bundle.specs import (
    Compaction,
    ExitSpec,
    FileEntry,
    GateSpec,
    Preprocessing,
    Provenance,
    StageSpec,
    TensorSpec,
)

EXITS = 3
CLASSES = ("ankle boot", "bag", "coat")
FEATURES = ("bias", "log-odds")
FILES = (
    "graphs/static.onnx",
    "graphs/weights.bin",
    "graphs/whole.onnx",
    "README.md",
    *(f"graphs/stage-{number}.onnx" for number in range(1, EXITS + 1)),
)


def fake_tensor(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", ("batch", *shape))


def fake_gate(*state: str) -> GateSpec:
    params = TensorSpec("gate_params", "float32", (3,), None, 0)
    return GateSpec(
        "statistics", 1, params, (1.0, 0.0, 1.0), FEATURES, "score", "features", state, 90
    )


def fake_stage(number: int, image: TensorSpec) -> StageSpec:
    last = number == EXITS
    hidden = tuple(fake_tensor(f"hidden_{k}", "seq+1", 4) for k in range(1, EXITS))
    return StageSpec(
        number=number,
        file=f"graphs/stage-{number}.onnx",
        inputs=(image,) if number == 1 else (),
        carried_in=hidden[: number - 1],
        carried_out=() if last else (hidden[number - 1],),
        exit=ExitSpec(f"exit_{number}", (fake_tensor(f"logits_{number}", len(CLASSES)),)),
        gate=None if last else fake_gate(),
        flops=1000 * number,
        params=10 * number,
    )


def fake_manifest(*, sealed: bool = False) -> Manifest:
    """Return a manifest, with entries for files that do not exist where it is ``sealed``."""
    files = tuple(FileEntry(path, 300, "ab" * 32) for path in sorted(FILES)) if sealed else ()
    image = TensorSpec("image", "uint8", ("batch", 2, 2, 1))
    return Manifest(
        schema=1,
        name="fake",
        inputs=(image,),
        stages=tuple(fake_stage(number, image) for number in range(1, EXITS + 1)),
        static="graphs/static.onnx",
        whole="graphs/whole.onnx",
        static_flops=6000,
        static_params=60,
        classes=CLASSES,
        preprocessing=Preprocessing("image", None, 1 / 255, (0.5,), (0.25,)),
        device="x86",
        precision="int8",
        decision_unit="sample",
        compaction=Compaction(True),
        provenance=Provenance("0.1.0", "2026-01-01", "fake.onnx", "0" * 64, {"onnx": "1"}),
        files=files,
    )


def fake_golden(seed: int = 0) -> Golden:
    rng = np.random.default_rng(seed)
    return Golden(
        {"image": rng.integers(0, 256, (2, 2, 2, 1), dtype=np.uint8)},
        {
            f"exit_{number}": {
                f"logits_{number}": rng.normal(size=(2, len(CLASSES))).astype(np.float32)
            }
            for number in range(1, EXITS + 1)
        },
    )


def fill(writer: BundleWriter, seed: int = 0, size: int = 300) -> None:
    rng = np.random.default_rng(seed)
    for path in FILES:
        writer.add_bytes(path, rng.bytes(size))
    writer.add_golden(fake_golden(seed))
    writer.add_json("parity.json", {"staged": {"flips": 0, "difference": 0.0}})


def write_fake(output: Path, seed: int = 0, **changes: Any) -> Bundle:
    """Write the fake bundle; ``changes`` replace fields of its manifest."""
    with BundleWriter(output) as writer:
        fill(writer, seed)
        return writer.seal(dataclasses.replace(fake_manifest(), **changes))


def fake_family(bundle: Bundle, **changes: Any) -> ExitFamily:
    family = ExitFamily(
        policy="gain-soft",
        manifest_digest=bundle.digest,
        gate="statistics",
        gate_version=1,
        params=((1.0, 0.25, 1.0), (1.5, -0.25, 1.0)),
        thresholds=np.array([[-9.0, -9.0], [0.5, 0.1], [9.0, 9.0]]),
        shares=np.array([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]),
        quality=np.array([0.7, 0.85, 0.9]),
        quality_kind="accuracy",
        per_exit_quality=np.array([0.7, 0.8, 0.9]),
        discrete=False,
        costs={"flops": CostTable("flops", (0.2, 0.5, 1.02), 1.0)},
        samples=1000,
        data_sha256="1" * 64,
        budget=Budget(0.5),
    )
    return dataclasses.replace(family, **changes)


def use(path: Path) -> None:
    """Open a bundle and read everything in it that has a reader."""
    bundle = Bundle.open(path)
    bundle.golden()
    bundle.parity()
    bundle.exits()


def sealed_paths(folder: Path) -> list[str]:
    """Return the POSIX path of every file below ``folder``."""
    return sorted(
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    )
