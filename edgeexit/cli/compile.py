"""``edgeexit compile``: a multi-exit model in, a bundle out."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.selection import read_selection
from edgeexit.bundle.specs import Preprocessing
from edgeexit.cli.reply import Reply
from edgeexit.cli.selection_tables import selection_lines
from edgeexit.cli.tables import manifest_answer, parity_lines, stage_table
from edgeexit.cli.verb import PATH, names, numbers, verb
from edgeexit.errors import InputError

AUTO = "auto"
"""What to give to ``--exits`` to have them searched."""

PRECISIONS = ("f32", "bf16", "fp16", "int8")


@verb("compile", short_help="Compile a multi-exit model into a bundle.")
@click.argument("model")
@click.option(
    "-o", "--output", "bundle", type=PATH, help="The bundle to write. Default: MODEL's name + .eex."
)
@click.option("--target", default="cpu", show_default=True, help="Device, or a device file.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="Default: the device's own.")
@click.option("--quant-data", help="Data to quantize on; default: --data, or a tuned MODEL's own.")
@click.option("--keep-float", multiple=True, metavar="PATTERN", help="Nodes kept out of int8.")
@click.option(
    "--range", "ranges", multiple=True, metavar="seq=16,64,128",
    help="Smallest, typical and largest size of a dynamic axis, for engines built on a device.",
)  # fmt: skip
@click.option(
    "--exits", type=names, metavar="A,B,C|1,3,4|auto",
    help="Exits to keep: outputs, first to last; or numbers; or auto, those that pay on --data, "
    "by FLOPs alone.",
)  # fmt: skip
@click.option("--budget", metavar="0.5", help="With --exits auto: mean FLOPs to be good at.")
@click.option("--truncate", type=int, metavar="K", help="Cut the model at exit K, without others.")
@click.option(
    "--gate", default="statistics", show_default=True,
    help="Gate of every early exit: statistics, confidence, patience, q-exit or jei-dnn.",
)  # fmt: skip
@click.option(
    "--input-shape", multiple=True, metavar="NAME=batch,3,224,224", help="For torch models."
)
@click.option("--image-size", type=numbers, metavar="H,W", help="Resize images to this.")
@click.option("--scale", type=float, help="Factor on pixel values; default 1/255.")
@click.option("--mean", type=numbers, metavar="M,...", help="Subtracted a channel, after scaling.")
@click.option("--std", type=numbers, metavar="S,...", help="Divided by a channel.")
@click.option("--classes", metavar="FILE|A,B", help="Class names: one a line, or a list.")
@click.option("--data", help="Labelled data: accuracy of every exit in the parity report.")
def command(
    reply: Reply,
    *,
    model: str,
    bundle: Path | None,
    target: str,
    precision: str | None,
    quant_data: str | None,
    keep_float: tuple[str, ...],
    ranges: tuple[str, ...],
    exits: tuple[str, ...] | None,
    budget: str | None,
    truncate: int | None,
    gate: str,
    input_shape: tuple[str, ...],
    image_size: tuple[float, ...] | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    classes: str | None,
    data: str | None,
) -> None:
    """Compile MODEL into a bundle.

    MODEL is a folder that `edgeexit tune` wrote, an ONNX file whose outputs are the logits of its
    exits, a .pt2 file, or package.module:factory. Giving any of --image-size, --scale, --mean or
    --std bakes the preprocessing of uint8 images (height, width, channels) into the first stage.
    """
    from edgeexit.compiler import compile_model

    output = bundle or _default_output(model)
    with reply.progress() as progress:
        compiled = compile_model(
            model,
            output,
            target=target,
            precision=precision,
            exits=exits,
            budget=_budget(budget, exits),
            truncate=truncate,
            gate=gate,
            input_shape=_shapes(input_shape) or None,
            quant_data=(quant_data or data) if precision == "int8" else quant_data,
            keep_float=keep_float,
            ranges=_ranges(ranges),
            preprocessing=_preprocessing(image_size, scale, mean, std),
            classes=_classes(classes),
            data=data,
            progress=progress,
        )
    parity, selection = compiled.parity(), read_selection(compiled)
    reply.answer(
        manifest_answer(compiled)
        | {"parity": parity, "selection": selection.as_json() if selection else None},
        f"compiled {output}: {compiled.manifest.precision} for {compiled.manifest.device}",
        *selection_lines(selection),
        stage_table(compiled.manifest),
        *parity_lines(parity, compiled.manifest.precision),
        *_recipe_lines(compiled, output),
    )


def _budget(budget: str | None, exits: tuple[str, ...] | None) -> str | None:
    """Return the budget to search at; one that edgeexit.toml holds for all verbs counts there."""
    source = click.get_current_context().get_parameter_source("budget")
    return budget if exits == (AUTO,) or source is ParameterSource.COMMANDLINE else None


def _recipe_lines(bundle: Bundle, output: Path) -> list[str]:
    """Return what a device has still to do, for bundles prepared for it."""
    recipe = bundle.recipe()
    if recipe is None:
        return []
    stages = [recipe.graph(stage.file) for stage in bundle.manifest.stages]
    int8 = sum(len(graph.int8_layers) for graph in stages if graph)
    other = sum(len(graph.float_layers) for graph in stages if graph)
    kept = len(recipe.float32_nodes)
    return [
        f"prepared for {bundle.manifest.device}; built on the device: edgeexit build {output}",
        f"  {int8} of {int8 + other} matrix products and convolutions in int8, the rest in "
        f"{recipe.float_type}; {kept} nodes stay float32 for their range",
    ]


def _default_output(model: str) -> Path:
    """Return MODEL's own name with .eex, in the working folder."""
    if Path(model).is_dir():
        return Path(f"{Path(model).resolve().name}.eex")
    return Path(Path(model.rpartition(":")[2]).stem + ".eex")


def _shapes(entries: tuple[str, ...]) -> dict[str, tuple[int | str, ...]]:
    """Read ``NAME=batch,3,224,224``: a word makes the axis dynamic."""
    shapes: dict[str, tuple[int | str, ...]] = {}
    for entry in entries:
        name, equals, sizes = entry.partition("=")
        words = [word.strip() for word in sizes.split(",")]
        shapes[name] = tuple(int(word) if word.isdigit() else word for word in words)
        if not equals or not name or not all(w.isdigit() or w.isidentifier() for w in words):
            raise InputError(
                f"--input-shape {entry!r} is not NAME=SIZE,SIZE,...",
                hint="write for example --input-shape image=batch,3,224,224; a word is a dynamic "
                "axis.",
                code="input.shape-syntax",
            )
    return shapes


def _ranges(entries: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    """Read ``seq=16,64,128``."""
    ranges: dict[str, tuple[int, int, int]] = {}
    for entry in entries:
        symbol, _, sizes = entry.partition("=")
        words = [word.strip() for word in sizes.split(",")]
        if not symbol or len(words) != 3 or not all(word.isdigit() for word in words):
            raise InputError(
                f"--range {entry!r} is not NAME=SMALLEST,TYPICAL,LARGEST.",
                hint="write for example --range seq=16,64,128.",
                code="input.range-syntax",
            )
        if symbol in ranges:
            raise InputError(
                f"--range names {symbol!r} twice.",
                hint="give one range a dimension.",
                code="input.range-syntax",
            )
        low, usual, high = map(int, words)
        ranges[symbol] = low, usual, high
    return ranges


def _preprocessing(
    size: tuple[float, ...] | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> Preprocessing | None:
    if size is None and scale is None and mean is None and std is None:
        return None
    if size is not None and (len(size) not in (1, 2) or any(s < 1 or s % 1 for s in size)):
        raise InputError(
            f"--image-size {','.join(f'{s:g}' for s in size)} is not a height and a width.",
            hint="write for example --image-size 224,224.",
            code="input.image-size",
        )
    channels = max(len(mean or (0,)), len(std or (1,)))
    return Preprocessing(
        input="image",
        size=None if size is None else (int(size[0]), int(size[-1])),
        scale=1 / 255 if scale is None else scale,
        mean=mean or (0.0,) * channels,
        std=std or (1.0,) * channels,
    )


def _classes(value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    path = Path(value)
    if "," in value and not path.exists():
        return names(value)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"class names {value!r} cannot be read: {error}.",
            hint="give a text file with one name a line, or names separated by commas.",
            code="input.classes",
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
