"""``edgeexit bench``: a bundle against the static model and other baselines, interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.tables import percent, shares
from edgeexit.cli.verb import PATH, bundle_argument, target_option, verb
from edgeexit.datasets import load_dataset
from edgeexit.errors import InputError, ModelError

if TYPE_CHECKING:
    from edgeexit.runtime.bench import BenchReport, OpenModel
    from edgeexit.runtime.bench_modes import ModeSpeed
    from edgeexit.runtime.machine import Machine
    from edgeexit.runtime.whole import WholeModel


@verb("bench", short_help="Compare a bundle with the static model, interleaved.")
@bundle_argument
@click.option("--data", required=True, help="Labelled .npz, image folder or module:function.")
@click.option(
    "--budget", type=Budget.parse, metavar="0.5|8ms|40mJ", help="Default: the calibrated one."
)
@click.option(
    "--baseline", "baselines", type=PATH, multiple=True, help="Another ONNX model, same inputs."
)
@click.option(
    "--batch", "batches", type=int, multiple=True, default=(1, 32), show_default=True, metavar="N"
)
@click.option("--rounds", type=click.IntRange(5), default=40, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Most samples to use.")
@click.option("--threads", type=int, help="Threads an inference; default: the device file's.")
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    data: str,
    budget: Budget | None,
    baselines: tuple[Path, ...],
    batches: tuple[int, ...],
    rounds: int,
    limit: int | None,
    threads: int | None,
    target: str | None,
) -> None:
    """Compare BUNDLE at a budget with the static model on the same engine and precision.

    All contenders see the same samples in turn, so that what disturbs the machine disturbs them
    alike; `static again` is the static model against itself, the noise of the comparison. Then
    the same samples are answered one by one, in batches that shrink and in batches that wait.
    """
    from edgeexit.runtime.bench import compare
    from edgeexit.runtime.bench_modes import compare_modes
    from edgeexit.runtime.runtime import Runtime

    opened = Bundle.open(bundle)
    dataset = load_dataset(data, inputs=opened.manifest.inputs, limit=limit, classes=opened.classes)
    openers = [_baseline(path, opened) for path in baselines]
    runtime = Runtime(opened, budget, target=target, threads=threads)
    with runtime, reply.progress() as progress:
        progress("measuring", 0.0)
        report = compare(runtime, dataset, baselines=openers, batches=batches, rounds=rounds)
        progress("measuring", 0.5)
        modes = compare_modes(runtime, dataset, batches=batches, rounds=rounds)
        progress("measuring", 1.0)
    reply.answer(
        asdict(report) | {"bundle": str(bundle), "modes": [asdict(mode) for mode in modes]},
        *report_blocks(report),
        *mode_blocks(modes),
    )


def report_blocks(report: BenchReport) -> tuple[str | Table, ...]:
    """Return what a comparison found, for people."""
    quality = [
        (q.name, "" if q.accuracy is None else percent(q.accuracy), percent(q.agreement))
        for q in report.quality
    ]
    speed = [
        (
            s.name,
            str(s.batch),
            f"{s.call.mean:.3f}",
            f"{s.call.p50:.3f}",
            f"{s.call.p95:.3f}",
            f"{s.call.p99:.3f}",
            f"{s.throughput:,.0f}",
            f"{s.ratio.median:.3f}",
            f"{s.ratio.low:.3f}-{s.ratio.high:.3f}",
        )
        for s in report.speed
    ]
    columns = (
        "time", "batch", "mean ms", "median", "p95", "p99", "samples/s", "ratio", "95 % interval",
    )  # fmt: skip
    return (
        f"{report.fingerprint}, {report.precision}, budget {report.budget or 'none'}",
        f"{report.samples} samples: mean cost {report.cost:.3f} of the static model's FLOPs, "
        f"exit shares {shares(report.shares)}",
        Table(("answers", "accuracy", "agrees with static"), quality),
        "",
        Table(columns, speed),
        "ratio: time over the static model's, paired by round; `static again` shows the noise.",
    )


def mode_blocks(modes: Sequence[ModeSpeed]) -> tuple[str | Table, ...]:
    """Return what a sample takes one by one and in batches, for people."""
    rows = [
        (
            str(speed.batch),
            speed.mode,
            f"{speed.milliseconds:.4f}",
            f"{speed.static:.4f}",
            f"{speed.ratio.median:.3f}",
            f"{speed.ratio.low:.3f}-{speed.ratio.high:.3f}",
        )
        for speed in modes
    ]
    columns = ("batch", "mode", "ms a sample", "static", "ratio", "95 % interval")
    return (
        "",
        Table(columns, rows),
        "single: one call a sample, against the static model one by one; compacted: samples leave "
        "the batch; whole: all wait for the last.",
    )


def _baseline(path: Path, bundle: Bundle) -> OpenModel:
    """Return what opens an ONNX file with the bundle's inputs; its first output is the logits."""
    output = _first_output(path)

    def open_model(machine: Machine, batch: int) -> WholeModel:
        from edgeexit.runtime.whole import WholeModel

        inputs = bundle.manifest.inputs
        return WholeModel(machine, path, inputs, (output,), batch=batch, name=path.stem)

    return open_model


def _first_output(path: Path) -> TensorSpec:
    if not path.is_file():
        raise InputError(
            f"baseline {path} does not exist.",
            hint="give the path of an ONNX file.",
            code="input.baseline",
        )
    try:
        import onnx
    except ImportError:
        raise InputError(
            "a baseline needs the onnx package, which is not installed.",
            hint="install it with: pip install 'edgeexit[compile]'",
            code="input.baseline-dependency",
        ) from None
    try:
        value = onnx.load(path, load_external_data=False).graph.output[0]
    except Exception as error:  # protobuf and onnx raise several kinds
        raise ModelError(
            f"baseline {path} is no readable ONNX model with an output.",
            hint="check it with: python -m onnx.checker FILE",
            code="model.unreadable",
        ) from error
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    sizes = tuple(dim.dim_value or dim.dim_param or "size" for dim in tensor.shape.dim)
    return TensorSpec(value.name, dtype, (BATCH, *sizes[1:]))
