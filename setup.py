"""Refuse to build where the links to calibrate/ and targets/ were lost; see pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

LINKS = {"edgeexit/calibrate": "calibrate", "edgeexit/targets": "targets"}


def check_links(root: Path) -> None:
    """Raise where a linked package is not a folder with Python files in it.

    A zip download, or a checkout on Windows without symbolic links, turns a link into a small
    text file: setuptools would then build a wheel that lacks two packages and say nothing.

    Raises:
        SystemExit: A link did not survive.
    """
    lost = [link for link in LINKS if not (root / link / "__init__.py").is_file()]
    if lost:
        targets = " and ".join(f"{link} -> ../{LINKS[link]}" for link in lost)
        raise SystemExit(
            f"error: this copy of edgeexit lost its symbolic links ({targets}), so the package "
            "would be built without them.\n"
            "hint: install the released sdist or wheel, or clone with git where links are allowed "
            "(on Windows: enable developer mode, then `git clone -c core.symlinks=true`)."
        )


check_links(Path(__file__).resolve().parent)
setup()
