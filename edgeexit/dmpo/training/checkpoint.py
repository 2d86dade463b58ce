"""Checkpoints: folders of safetensors and one sealed JSON file, whole or absent. No pickle.

A checkpoint is the folder ``step-<number>`` with::

    weights.safetensors    what is trained, and the buffers
    best.safetensors       the same at the best epoch; absent before the first epoch's end
    optimizer.safetensors  the optimizer's tensors, <parameter number>.<name>
    random.safetensors     state of the random generators, one row a process
    state.json             everything else, and the SHA-256 of the files above; itself sealed

It is written under another name, flushed and renamed; the one before it is removed after that.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeexit.bundle.atomic import flush, writing
from edgeexit.bundle.integrity import open_regular
from edgeexit.bundle.jsonfile import Json, seal_json, unseal_json
from edgeexit.errors import BundleError

Tensors = Mapping[str, Tensor]

STATE = "state.json"
CODE = "tune.checkpoint"
_PARTS = ("weights", "best", "optimizer", "random")
_NAME = re.compile(r"step-\d{10}")
_HALF = ".half-"
_MAX_STATE = 64 << 20
"""Most bytes of ``state.json`` that are read."""


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training.

    Attributes:
        weights: What :func:`trained_weights` returns.
        best: The same at the best epoch; empty before the first epoch's end.
        optimizer: What :func:`optimizer_tensors` returns.
        random: ``states`` ``(processes, n) uint8``.
        state: JSON values.
    """

    weights: Tensors
    best: Tensors
    optimizer: Tensors
    random: Tensors
    state: dict[str, Any]


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, on the CPU, of the parameters that require gradients and of all buffers."""
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in model.state_dict().items()
        if name not in frozen
    }


def frozen_sha256(model: nn.Module) -> str:
    """Return a digest of the parameters that no checkpoint holds, since nothing trains them."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(f"{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
            flat = parameter.detach().cpu().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_weights(model: nn.Module, weights: Tensors) -> None:
    """Put weights that :func:`trained_weights` returned into a model of the same make.

    Raises:
        BundleError: They are of another model.
    """
    expected = {name: value.shape for name, value in trained_weights(model).items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise unusable("its weights", f"are of another model: {odd!r} differs")
    model.load_state_dict(dict(weights), strict=False)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state, one tensor a name ``<parameter number>.<name>``."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value.detach().to("cpu", copy=True).contiguous()
        for number, values in state.items()
        for name, value in values.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Tensors) -> None:
    """Put back what :func:`optimizer_tensors` returned.

    Raises:
        BundleError: It is the state of another optimizer.
    """
    state: dict[int, dict[str, Tensor]] = {}
    groups = optimizer.state_dict()["param_groups"]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        known = number.isdigit() and int(number) < len(parameters)
        if not known or value.shape not in (parameters[int(number)].shape, torch.Size([])):
            raise unusable("its optimizer", f"is of another model: {key!r} does not fit")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below ``folder`` and remove older ones.

    Returns:
        The checkpoint's folder.

    Raises:
        ResourceError: The disk is full or failing; the checkpoint before is untouched.
    """
    place = folder / f"step-{checkpoint.state['training']['step']:010d}"
    half = folder / f"{_HALF}{os.urandom(8).hex()}"
    parts = {name: getattr(checkpoint, name) for name in _PARTS}
    with writing(place):
        half.mkdir(parents=True)
        try:
            files: dict[str, Json] = {}
            for name, tensors in parts.items():
                if tensors:
                    files[name] = _write(half / f"{name}.safetensors", save(dict(tensors)))
            body: Json = {**checkpoint.state, "files": files}
            _write(half / STATE, seal_json("state", body)[0])
            flush(half)
            older = [path for path in _checkpoints(folder) if path != place]
            if place.exists():
                shutil.rmtree(place)
            half.rename(place)
            flush(folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)
    return place


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint below ``folder``, or None."""
    return max(_checkpoints(folder), default=None)


def clear_half_written(folder: Path) -> None:
    """Remove what killed writers left. The caller is the only writer."""
    for path in folder.glob(f"{_HALF}*"):
        shutil.rmtree(path, ignore_errors=True)


def clear_checkpoints(folder: Path) -> None:
    """Remove every checkpoint below ``folder``: a training begins anew.

    Raises:
        ResourceError: They cannot be removed.
    """
    with writing(folder):
        for path in _checkpoints(folder):
            shutil.rmtree(path)


def load_checkpoint(place: Path) -> Checkpoint:
    """Return a checkpoint, every file of it checked against its SHA-256.

    Raises:
        BundleError: A file is missing, damaged or no plain file.
    """
    try:
        data = _read(place / STATE)
        body, _ = unseal_json(data, "state", str(place / STATE), _MAX_STATE)
        digests = body.pop("files", None) if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(digests, dict):
            raise unusable(str(place / STATE), "is no training state")
        parts = {name: _tensors(place, name, digests.get(name)) for name in _PARTS}
    except BundleError as error:
        if error.code == CODE:
            raise
        raise unusable(f"checkpoint {place}", f"is damaged: {error.message}") from error
    return Checkpoint(**parts, state=body)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]


def _write(path: Path, data: bytes) -> str:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    with open_regular(path, str(path)) as file:
        return file.read()


def _tensors(place: Path, name: str, digest: Any) -> dict[str, Tensor]:
    if digest is None:
        return {}
    path = place / f"{name}.safetensors"
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise unusable(str(path), f"was changed: its SHA-256 is {found}, not {digest}")
    try:
        return load(data)
    except SafetensorError as error:
        raise unusable(str(path), f"is no safetensors file ({error})") from error


def unusable(where: str, fault: str) -> BundleError:
    """Return the error for a checkpoint that cannot be resumed."""
    return BundleError(
        f"{where} {fault}.", hint="start the training anew with --restart.", code=CODE
    )
