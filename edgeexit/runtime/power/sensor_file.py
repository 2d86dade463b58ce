"""The kernel's sensor files: one value each, read with errors that say what to do."""

from __future__ import annotations

import re
from pathlib import Path

from edgeexit.errors import ResourceError

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_LONGEST = 200


def read_text(file: Path, driver: str) -> str:
    """Return what a sensor file says, without the white space around it.

    Args:
        file: The file.
        driver: Name of the kernel's driver, for the hints.

    Raises:
        ResourceError: It may not be read (``power.permission``), is not there (``power.gone``)
            or cannot be read now (``power.sensor``).
    """
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST).decode("ascii", "replace").strip()
    except PermissionError as error:
        raise ResourceError(
            f"the power sensor {file} may not be read: {error.strerror}.",
            hint=f"as root: chmod a+r {file}, or measure as root.",
            code="power.permission",
        ) from error
    except FileNotFoundError as error:
        raise ResourceError(
            f"the power sensor {file} is gone: it was there when the sensors were looked for.",
            hint=f"look for the sensors again; `dmesg | grep {driver}` tells why a driver went.",
            code="power.gone",
        ) from error
    except OSError as error:
        raise ResourceError(
            f"the power sensor {file} cannot be read: {error.strerror}.",
            hint=f"measure again; if it stays, `dmesg | grep {driver}` tells more.",
            code="power.sensor",
        ) from error


def read_number(file: Path, driver: str) -> int:
    """Return the whole number that a sensor file holds.

    Raises:
        ResourceError: As :func:`read_text`, or it holds something else (``power.nonsense``).
    """
    text = read_text(file, driver)
    if not _NUMBER.fullmatch(text):
        raise nonsense(str(file), repr(text[:40]), "a whole number")
    return int(text)


def optional_text(file: Path, driver: str) -> str:
    """Return what a sensor file says, or nothing where it cannot be read."""
    try:
        return read_text(file, driver)
    except ResourceError:
        return ""


def nonsense(sensor: str, found: str, wanted: str) -> ResourceError:
    """Return the error for a sensor whose answer cannot be right.

    Args:
        sensor: Its file or name.
        found: What it says.
        wanted: What would be right.
    """
    return ResourceError(
        f"the power sensor {sensor} says {found}: {wanted} would be right.",
        hint="leave this measurement out; if it stays, restart the board or use an external meter.",
        code="power.nonsense",
    )
