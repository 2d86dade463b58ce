"""From a config to a tuned folder: what comes out, what is left behind, what is refused."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from transformers import ViTConfig, ViTModel

from edgeexit.dmpo.config import AdapterConfig, BackboneConfig, BypassConfig, DataConfig
from edgeexit.dmpo.training.state import TrainingState
from edgeexit.dmpo.tuning import tune
from edgeexit.errors import BundleError, InputError, ResourceError
from edgeexit.tuned import TunedFolder
from tests.dmpo.training.tiny import CLASSES, config_of, quarters

SAMPLES = 120


def run_of(folder, **training):
    """Return a run on data below ``folder``, which is written."""
    images, labels = quarters(SAMPLES)
    np.savez(folder / "data.npz", x=images, y=labels)
    data = DataConfig(train=str(folder / "data.npz"), validation=0.2, calibration=0.2)
    return replace(config_of(threads=1, **training), data=data)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a run, what it came to, and the caller's random numbers before and after."""
    folder = tmp_path_factory.mktemp("finished")
    config = run_of(folder)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    tuned = tune(config, folder / "out")
    return config, tuned, bool(torch.equal(before, torch.get_rng_state()))


def test_a_tuned_folder_comes_out_and_nothing_else_stays(finished):
    _, tuned, _ = finished
    folder = TunedFolder.open(tuned.folder)
    assert folder.record.after == (1, 3)
    assert folder.record.classes == tuple(str(number) for number in range(CLASSES))
    names = {path.name for path in tuned.folder.parent.iterdir()}
    assert names == {"data.npz", "out", ".out.lock"}


def test_what_it_came_to_is_told_and_written_down(finished):
    config, tuned, _ = finished
    assert [record.epoch for record in tuned.history] == [1, 2]
    assert tuned.stopped == "epochs"
    assert tuned.validation == tuned.history[tuned.best_epoch - 1].accuracy
    assert tuned.parameters_trained == tuned.parameters > 1000
    report = TunedFolder.open(tuned.folder).report
    written = [TrainingState.from_json({"history": [each]}) for each in report["history"]]
    assert [state.history[0] for state in written] == list(tuned.history)
    assert (report["precision"], report["device"], report["processes"]) == ("float32", "cpu", 1)
    assert report["parameters"] == tuned.parameters
    assert config.training.epochs == len(report["history"])


def test_the_log_lies_in_the_tuned_folder(finished):
    _, tuned, _ = finished
    steps = tuned.history[-1].step
    numbers = [row["step"] for row in rows(tuned.folder / "log" / "steps.csv")]
    assert numbers == [str(number) for number in range(1, steps + 1)]
    assert len(rows(tuned.folder / "log" / "epochs.csv")) == 2


def test_the_callers_random_state_is_kept(finished):
    _, _, kept = finished
    assert kept


def interrupt_after(steps):
    def show(_label, _done):
        show.left -= 1
        if show.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    show.left = steps
    return show


def test_an_interrupted_run_goes_on_to_the_same_weights(finished, tmp_path):
    _, whole, _ = finished
    config = run_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "out", progress=interrupt_after(3))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.tuning" / "step-0000000003").is_dir()
    # Its data lies elsewhere, but is the same; only the path of the settings differs.
    tuned = tune(config, tmp_path / "out")
    first, second = (each.folder / "model.safetensors" for each in (whole, tuned))
    assert first.read_bytes() == second.read_bytes()
    assert not (tmp_path / "out.tuning").exists()


def test_other_settings_or_data_do_not_go_on_and_restart_does(tmp_path):
    config = run_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "out", progress=interrupt_after(1))
    changed = replace(config, training=replace(config.training, lr=1e-4, log=()))
    with pytest.raises(InputError) as caught:
        tune(changed, tmp_path / "out")
    assert caught.value.code == "tune.changed"
    assert caught.value.message.endswith("settings: training.lr: 0.003 -> 0.0001.")
    images, labels = quarters(SAMPLES)
    np.savez(tmp_path / "data.npz", x=255 - images, y=labels)
    with pytest.raises(InputError, match=r"data \(SHA-256\): '[0-9a-f]{64}' -> '"):
        tune(config, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        tune(changed, tmp_path / "out", resume=False, progress=interrupt_after(2))
    assert [path.name for path in (tmp_path / "out.tuning").glob("step-*")] == ["step-0000000002"]


def test_another_backbone_under_the_same_name_is_not_gone_on_with(tmp_path):
    settings = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"intermediate_size": 16, "image_size": 12, "patch_size": 4, "num_channels": 1}
    for seed in (1, 2):
        torch.manual_seed(seed)
        ViTModel(ViTConfig(**settings, **sizes)).save_pretrained(tmp_path / f"vit-{seed}")
    (tmp_path / "vit-1").rename(tmp_path / "vit")
    backbone = BackboneConfig(source=str(tmp_path / "vit"))
    config = replace(run_of(tmp_path), backbone=backbone, adapter=AdapterConfig("lora"))
    config = replace(config, exits=replace(config.exits, after=(1, 2)))
    with pytest.raises(KeyboardInterrupt):
        tune(config, tmp_path / "out", progress=interrupt_after(1))
    (tmp_path / "vit").rename(tmp_path / "old")
    (tmp_path / "vit-2").rename(tmp_path / "vit")
    with pytest.raises(InputError, match=r"frozen weights \(SHA-256\): '[0-9a-f]{64}' -> '"):
        tune(config, tmp_path / "out")


def test_a_run_that_needs_more_memory_than_there_is_says_what_to_lower(tmp_path):
    config = replace(run_of(tmp_path), bypass=BypassConfig(width=10**13))
    with pytest.raises(ResourceError, match="ran out of memory") as caught:
        tune(config, tmp_path / "out")
    assert "training.batch" in (caught.value.hint or "")
    assert not (tmp_path / "out.tuning").exists()


def test_two_runs_into_one_output_are_refused(tmp_path):
    work = tmp_path / "out.tuning"
    work.mkdir()
    with FileLock(work / "lock"), pytest.raises(ResourceError) as caught:
        tune(run_of(tmp_path), tmp_path / "out")
    assert caught.value.code == "tune.locked"
    assert f"another process is tuning into {tmp_path / 'out'}" in caught.value.message


def test_an_output_that_is_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(BundleError, match="is no tuned folder; it is left alone"):
        tune(run_of(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out.tuning").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log": ("paper",)}, "training.log names 'paper'"),
        ({"precision": "fp16"}, "training.precision is 'fp16' on the device 'cpu'"),
    ],
)
def test_settings_are_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        tune(run_of(tmp_path, **settings), tmp_path / "out")
    assert not (tmp_path / "out.tuning").exists()


def test_data_that_is_refused_leaves_nothing_behind(tmp_path):
    config = run_of(tmp_path)
    (tmp_path / "data.npz").write_bytes(b"no archive")
    with pytest.raises(InputError):
        tune(config, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="torch finds no GPU") as caught:
        tune(run_of(tmp_path, device="cuda"), tmp_path / "out")
    assert caught.value.code == "tune.device"


PROGRAM = """
import sys
from pathlib import Path
from edgeexit.dmpo.tuning import tune
from tests.dmpo.test_tuning import run_of

tuned = tune(run_of(Path(sys.argv[1]), batch=8), Path(sys.argv[1]) / "out")
print("accuracy", tuned.validation, "steps", tuned.history[-1].step)
"""


@pytest.mark.slow
def test_two_processes_tune_one_model(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    root = Path(__file__).parents[2]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, str(tmp_path / "program.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folder = TunedFolder.open(tmp_path / "out")
    # 72 samples in batches of 8 on each of 2 processes: 5 steps an epoch.
    assert (folder.report["processes"], folder.report["history"][-1]["step"]) == (2, 10)
    told = [line for line in done.stdout.splitlines() if line.startswith("accuracy")]
    assert len(told) == 2
    assert told[0] == told[1]
    assert len(rows(tmp_path / "out" / "log" / "steps.csv")) == 10
