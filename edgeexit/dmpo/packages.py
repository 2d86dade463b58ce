"""The packages of the extra ``tune``: what to say where one is missing. No torch here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgeexit.errors import ModelError

_OF_TUNE = ("accelerate", "peft", "safetensors", "tokenizers", "torch", "transformers")


def missing_package(error: ImportError) -> ModelError:
    """Return the error for a package that tuning needs and that is not installed."""
    package = (error.name or "a package").partition(".")[0]
    return ModelError(
        f"tuning needs {package}, which is not installed or cannot be loaded: {error}.",
        hint="install it with: pip install 'edgeexit[tune]'",
        code="model.dependency",
    )


@contextlib.contextmanager
def tune_packages() -> Iterator[None]:
    """Turn a failed import of a package of ``edgeexit[tune]`` inside the block into its error.

    Raises:
        ModelError: One of the packages is missing.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _OF_TUNE:
            raise missing_package(error) from error
        raise
