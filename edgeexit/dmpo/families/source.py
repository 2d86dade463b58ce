"""Where a backbone's files lie, and what they may be: JSON and safetensors, inside one folder.

A hub name is first made a local folder, so that one set of checks holds for both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from edgeexit.errors import ModelError

HUB_FILES = (
    *("config.json", "preprocessor_config.json"),
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
)
"""What is fetched from a hub: weights, settings, and what turns texts and images into inputs."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def source_folder(source: str, revision: str | None = None) -> Path:
    """Return the folder of a backbone: ``source`` itself, or where the hub's files now lie.

    Args:
        source: A local folder, or a hub name such as ``google/vit-base-patch16-224``.
        revision: Branch, tag or commit of a hub model.

    Raises:
        ModelError: There is no such folder, or the hub does not give the model.
    """
    found = _local(source)
    if found == "folder":
        return Path(source).expanduser()
    if found or source.startswith((".", "/", "~")) or source.count("/") > 1:
        what = "is a file" if found else "does not exist"
        raise ModelError(
            f"the backbone {source!r} {what}; a folder with config.json and model.safetensors is "
            "asked for.",
            hint="give the folder that save_pretrained wrote, or a hub name.",
            code="model.no-source",
        )
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(HUB_FILES)))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ModelError(
            f"the backbone {source!r} is no local folder, and the hub did not give it{at}: "
            f"{first_line(error)}",
            hint="check the name and the connection, or download the model elsewhere and give its "
            "folder.",
            code="model.hub",
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` of a folder says.

    Raises:
        ModelError: There is none, it is no JSON object, or it has no ``model_type``.
    """
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"the backbone folder {folder} has no config.json.",
            hint="give the folder that transformers' save_pretrained wrote.",
            code="model.no-config",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise bad_config(path, f"cannot be read: {first_line(error)}") from error
    if not isinstance(settings, dict):
        raise bad_config(path, f"holds a {type(settings).__name__}, not an object")
    if not isinstance(settings.get("model_type"), str):
        raise bad_config(path, "has no model_type")
    return settings


def require_safetensors(folder: Path) -> None:
    """Refuse a folder whose weights are not safetensors, all of them inside it.

    Raises:
        ModelError: The weights are missing, pickled, or lie elsewhere.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return
    if index.is_file():
        _check_shards(index)
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    has = f"only {', '.join(pickled)}, which may run code when read" if pickled else "no weights"
    raise ModelError(
        f"the backbone folder {folder} has {has}; model.safetensors is asked for.",
        hint="load the model where you trust it and write it with "
        "save_pretrained(folder, safe_serialization=True).",
        code="model.no-safetensors",
    )


def bad_config(path: Path, what: str) -> ModelError:
    """Return the error of a JSON file of a backbone that does not say what it must."""
    return ModelError(
        f"{path} {what}.",
        hint="give the folder that transformers' save_pretrained wrote, in full precision.",
        code="model.bad-config",
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error of another library, at most 300 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _local(source: str) -> Literal["folder", "file"] | None:
    """Return what lies at a path; None where nothing does, or where it is no path at all."""
    try:
        path = Path(source).expanduser()
        if source and path.exists():
            return "folder" if path.is_dir() else "file"
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, the home of nobody
        pass
    return None


def _check_shards(index: Path) -> None:
    """Refuse an index that names a file outside its folder, or one that is no safetensors."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise bad_config(index, f"cannot be read: {first_line(error)}") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise bad_config(index, f"names {name!r}, which is no plain file name")
        if not name.endswith(".safetensors"):
            raise bad_config(index, f"names {name!r}, which is no .safetensors file")
