"""The README's Python runs as written; its config is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexit.dmpo.config_file import read_config
from tests.cli.conftest import clean_environment
from tests.cli.models import write_data, write_model

README = Path(__file__).parents[2] / "README.md"


def test_the_toml_of_the_readme_is_the_config_of_a_tuning_run(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.S)
    (tmp_path / "tune.toml").write_text(block)
    config = read_config(tmp_path / "tune.toml")
    assert (config.data.train, config.data.length) == ("train.csv", 64)
    assert (config.backbone.source, config.exits.after) == ("models/minilm", (1, 3, 6))


@pytest.mark.slow
def test_the_python_of_the_readme(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    model = write_model(tmp_path / "model.onnx", hidden=64)
    write_data(tmp_path / "calibration.npz", model)
    before = "import numpy\nimages = numpy.load('calibration.npz')['x'][:100]\n"
    after = (
        "\nassert result.labels.shape == (100,)\n"
        "assert set(result.exits) <= {1, 2, 3}\n"
        "assert runtime(images).cost < result.cost\n"
        "print('as written')\n"
    )
    (tmp_path / "readme.py").write_text(before + block + after)
    done = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(EDGEEXIT_CACHE=str(tmp_path / "cache")),
    )
    assert done.stdout.endswith("as written\n"), done.stderr
    shutil.rmtree(tmp_path / "model.eex")
