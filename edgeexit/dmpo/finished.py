"""Whether a run was done before. No torch here: the answer comes at once."""

from __future__ import annotations

import os
from pathlib import Path

from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.config_file import config_from_json
from edgeexit.dmpo.training.identity import check_identity, run_identity
from edgeexit.tuned import TunedFolder, is_tuned


def work_folder(output: str | os.PathLike[str]) -> Path:
    """Return where checkpoints and logs lie while a run into ``output`` is under way."""
    place = Path(os.path.realpath(output))
    return place.with_name(f"{place.name}.tuning")


def finished_run(config: TuneConfig, output: str | os.PathLike[str]) -> TunedFolder | None:
    """Return the tuned folder at ``output`` where this run has ended and none is under way.

    The data is not read again: data that has changed under the same name is not noticed.

    Args:
        config: The run.
        output: The folder it writes.

    Raises:
        InputError: The folder was tuned with other settings.
        BundleError: The folder is damaged.
    """
    if not is_tuned(Path(output)) or any(work_folder(output).glob("step-*")):
        return None
    folder = TunedFolder.open(output)
    before = config_from_json(folder.config)
    check_identity(run_identity(before, "", 1), run_identity(config, "", 1))
    return folder
