"""Builds transformers models quietly: from a folder of safetensors, or with random weights."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from edgeexit.dmpo.families.source import (
    bad_config,
    first_line,
    read_config,
    require_safetensors,
    source_folder,
)
from edgeexit.dmpo.families.suggest import unknown_setting
from edgeexit.errors import InputError, ModelError


def load_model(
    classes: Mapping[str, type[PreTrainedModel]],
    source: str,
    revision: str | None,
    **options: Any,
) -> PreTrainedModel:
    """Load float32 weights with attention spelled out (it exports to MatMul and Softmax).

    Args:
        classes: The transformers class of each ``model_type`` that the family reads.
        source: A local folder, or a hub name.
        revision: Branch, tag or commit of a hub model.
        options: More arguments of ``from_pretrained``.

    Raises:
        ModelError: The folder is of another family, has no safetensors, lacks weights, or cannot
            be read.
    """
    folder = source_folder(source, revision)
    settings = read_config(folder)
    kind = settings["model_type"]
    if kind not in classes:
        raise ModelError(
            f"the backbone {source!r} has the model type {kind!r}; this family reads "
            f"{', '.join(classes)}.",
            hint="leave out [backbone] family: it is then read from the folder.",
            code="model.other-family",
        )
    if "quantization_config" in settings:
        raise bad_config(folder / "config.json", "describes quantized weights")
    require_safetensors(folder)
    try:
        with _quiet():
            # Eager attention trains as fast as SDPA on a CPU in float32, faster in bfloat16.
            # With the loading report it returns a pair, which its annotation does not say.
            loaded: Any = classes[kind].from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    # A foreign library on foreign bytes: whatever it raises means that they cannot be read.
    except Exception as error:
        raise ModelError(
            f"the backbone {source!r} cannot be loaded: {first_line(error)}",
            hint="load it with transformers and write it anew with save_pretrained.",
            code="model.unreadable",
        ) from error
    model, report = loaded
    _require_complete(source, report["missing_keys"])
    return cast(PreTrainedModel, model)


def fresh_config(
    config: type[PreTrainedConfig],
    settings: Mapping[str, Any],
    known: Collection[str],
    own: Collection[str] = (),
) -> PreTrainedConfig:
    """Return the configuration of a model with random weights.

    Args:
        config: The transformers class of the configuration.
        settings: Its arguments, from the user.
        known: The names among them that a user may set.
        own: Settings of the family itself, read already; a message lists them too.

    Raises:
        InputError: A setting is unknown, or not of the type or in the range it must be.
    """
    for name, value in settings.items():
        check_setting(name, value, (*known, *own))
    try:
        # A keyword of the base class that its annotations leave out.
        attention: dict[str, Any] = {"attn_implementation": "eager"}
        return config(**settings, **attention)
    # Validation errors of transformers share no base class.
    except Exception as error:
        raise bad_setting(" ".join(str(error).split())) from error


def check_setting(name: str, value: object, known: Collection[str]) -> None:
    """Check that a setting is known and, where it is a number or lists numbers, in range.

    Raises:
        InputError: It is not.
    """
    if name not in known:
        raise unknown_setting(name, known)
    least = 0 if name == "pad_token_id" else 1
    for number in value if isinstance(value, list | tuple) else (value,):
        if type(number) is int and number < least:
            raise bad_setting(f"{name} = {value} must be {least} or more")
        if isinstance(number, float) and not 0 <= number < 1:
            raise bad_setting(f"{name} = {value} must lie in 0..1, without 1")


def image_size(name: str, value: object) -> tuple[int, int]:
    """Return height and width of an image or a patch, given as one number or as two.

    Raises:
        InputError: It is neither, or not positive.
    """
    pair = (value, value) if isinstance(value, int) else value
    if isinstance(pair, list | tuple) and len(pair) == 2:
        height, width = pair
        if type(height) is int and type(width) is int and min(height, width) > 0:
            return height, width
    raise bad_setting(f"{name} = {value!r} must be a positive number, or [height, width]")


def fresh_model(
    model: type[PreTrainedModel], config: PreTrainedConfig, **options: Any
) -> PreTrainedModel:
    """Return a model with random weights.

    Raises:
        InputError: The settings do not fit each other.
    """
    try:
        with _quiet():
            return model(config, **options)
    except (ValueError, RuntimeError, TypeError, KeyError, ZeroDivisionError) as error:
        raise bad_setting(f"they do not fit each other: {first_line(error)}") from error


def bad_setting(what: str) -> InputError:
    """Return the error of a setting, or of several, of a backbone from scratch."""
    return InputError(
        f"[backbone] settings: {what}.",
        hint="correct the settings; the family's file says what each one means.",
        code="input.backbone-setting",
    )


def _require_complete(source: str, missing: Collection[str]) -> None:
    if missing:
        names = sorted(missing)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"the backbone {source!r} lacks the weights {', '.join(names[:3])}{more}; they would "
            "be random.",
            hint="give a complete checkpoint of the architecture that its config.json describes.",
            code="model.incomplete",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loading report and the progress bar of transformers off the terminal."""
    level = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
