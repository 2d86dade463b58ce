"""The self-test on machines that lack this or that, and what it says of a process that dies.

A tree of files stands for a Jetson's sensors: it shows how they are read, not what a board says.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.errors import TargetError
from edgeexit.runtime.selftest import SelfTest
from edgeexit.runtime.selftest_bundle import PACKED, pack_selftest, unpack_selftest
from edgeexit.runtime.trial import run_trial
from edgeexit.targets.cuda.probe import probe_cuda
from edgeexit.targets.device import load_device
from edgeexit.targets.info import Unavailable
from tests.cli.test_build import sealed

no_gpu = pytest.mark.skipif(
    not isinstance(probe_cuda(), Unavailable), reason="a GPU is here: its parts would be found"
)


def selftest(device, **options):
    test = SelfTest(load_device(device), device, **options)
    return test, {part.name: part for part in test.run()}


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


@pytest.fixture
def orin(tmp_path):
    """Files of an Orin Nano: release, board, a GPU clock and one power monitor."""
    root = tmp_path / "root"
    write(root, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic")
    write(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit")
    write(root, "var/lib/nvpmodel/status", "pmode:0001")
    write(root, "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=25W >")
    gpu = "sys/class/devfreq/17000000.gpu"
    for name, value in (("cur", 306), ("min", 306), ("max", 918)):
        write(root, f"{gpu}/{name}_freq", value * 1_000_000)
    write(root, f"{gpu}/governor", "nvhost_podgov")
    monitor = "sys/bus/i2c/devices/1-0040"
    write(root, f"{monitor}/name", "ina3221")
    for channel, (label, volts, amperes) in enumerate(
        [("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 300), ("VDD_SOC", 5000, 250)], start=1
    ):
        write(root, f"{monitor}/hwmon/hwmon1/in{channel}_label", label)
        write(root, f"{monitor}/hwmon/hwmon1/in{channel}_input", volts)
        write(root, f"{monitor}/hwmon/hwmon1/curr{channel}_input", amperes)
    return root


class TestParts:
    @no_gpu
    def test_the_order_is_that_in_which_one_needs_the_other(self, tmp_path):
        told = []
        test, parts = selftest("jetson", root=tmp_path, say=told.append)
        names = "board,Python module,CUDA library,driver,GPU,engine,clocks,power rails"
        assert told == [*names.split(","), "CUDA round trip", "build and answers"]
        assert list(parts) == told
        assert not test.usable
        assert {part.state for part in parts.values()} <= {"ok", "not there"}
        assert parts["CUDA round trip"].found == "not tried: there is no working GPU."

    def test_a_jetsons_files(self, orin):
        _, parts = selftest("jetson-orin-nano", root=orin)
        assert parts["board"].found == (
            "NVIDIA Jetson Orin Nano Developer Kit, JetPack 6.2 (L4T 36.4.3), power mode 25W, "
            "GPU at 306 of 918 MHz"
        )
        assert parts["clocks"].found == (
            "gpu 17000000.gpu 306 MHz, nvhost_podgov within 306 to 918"
        )
        assert parts["power rails"].found == (
            "VDD_IN 6.00 W, VDD_CPU_GPU_CV 1.50 W, VDD_SOC 1.25 W; the total is VDD_IN"
        )
        assert [parts[name].state for name in ("board", "clocks", "power rails")] == ["ok"] * 3

    def test_clocks_that_are_held(self, orin):
        write(orin, "sys/class/devfreq/17000000.gpu/min_freq", 918_000_000)
        write(orin, "sys/class/devfreq/17000000.gpu/cur_freq", 918_000_000)
        _, parts = selftest("jetson", root=orin)
        assert parts["clocks"].found == "gpu 17000000.gpu 918 MHz, held"

    def test_a_broken_sensor_is_named_and_not_needed(self, orin):
        write(orin, "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input", "soon")
        _, parts = selftest("jetson", root=orin)
        rails = parts["power rails"]
        assert (rails.state, rails.needed) == ("failed", False)
        assert "curr1_input says 'soon'" in rails.found

    def test_a_machine_that_is_no_jetson(self, tmp_path):
        _, parts = selftest("jetson", root=tmp_path)
        assert (parts["board"].state, parts["board"].found) == ("not there", "this is no Jetson.")
        assert "edgeexit build B.eex --check" in parts["board"].hint
        _, parts = selftest("nvidia-gpu", root=tmp_path)
        assert parts["board"].hint == ""

    def test_a_processor_is_asked_in_earnest(self):
        test, parts = selftest("cpu")
        assert test.usable
        assert list(parts) == ["engine", "build and answers"]
        assert parts["build and answers"].found.startswith("nothing to build; 2 exits answer as")

    def test_a_device_file_of_ones_own(self, tmp_path):
        file = tmp_path / "kiosk.toml"
        file.write_text(
            'name = "kiosk"\ndescription = "d"\nengine = "onnxruntime"\nprecisions = ["int8"]\n'
            'default_precision = "int8"\nthreads = 1\nbatch_buckets = [1]\n'
        )
        test = SelfTest(load_device(file), str(file))
        assert [part.state for part in test.run()] == ["ok", "ok"]

    def test_a_device_without_the_precision_of_the_small_bundle(self, tmp_path):
        file = tmp_path / "kiosk.toml"
        file.write_text(
            'name = "kiosk"\ndescription = "d"\nengine = "onnxruntime"\nprecisions = ["f32"]\n'
            'default_precision = "f32"\nthreads = 1\nbatch_buckets = [1]\n'
        )
        test = SelfTest(load_device(file), str(file))
        assert [part.state for part in test.run()] == ["ok", "failed"]
        assert "has no precision 'int8'" in test.parts[-1].found
        assert not test.usable

    def test_a_damaged_small_bundle_is_reported_not_raised(self, tmp_path):
        broken = tmp_path / "broken.npz"
        broken.write_bytes(PACKED.read_bytes()[:-100])
        _, parts = selftest("cpu", packed=broken)
        part = parts["build and answers"]
        assert (part.state, part.hint) == ("failed", "this is a fault in edgeexit: report it.")
        assert "no readable .npz" in part.found

    def test_wrong_answers_are_a_failure(self, tmp_path):
        """Golden outputs that no engine gives stand for an engine that computes wrongly."""
        bundle = unpack_selftest(tmp_path / "b.eex")
        with np.load(bundle / "golden.npz") as arrays:
            golden = {name: arrays[name] for name in arrays}
        golden["output/exit_2/exit_2"] = golden["output/exit_2/exit_2"] + 1
        np.savez(bundle / "golden.npz", **golden)
        sealed(bundle)
        pack_selftest(bundle, tmp_path / "wrong.npz")
        test, parts = selftest("cpu", packed=tmp_path / "wrong.npz")
        assert parts["build and answers"].state == "failed"
        assert "exit 'exit_2' differs from its golden output by 1" in (
            parts["build and answers"].found
        )
        assert not test.usable


class TestTrial:
    def test_a_process_that_dies_by_a_signal(self, tmp_path, monkeypatch):
        (tmp_path / "crashing.py").write_text(
            "import os, signal, sys\n"
            "print('last words', file=sys.stderr, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGSEGV)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(TargetError, match="was killed by SIGSEGV: last words") as caught:
            run_trial("module", "crashing")
        assert caught.value.code == "target.died"

    def test_a_process_that_ends_without_an_answer(self, tmp_path, monkeypatch):
        (tmp_path / "leaving.py").write_text("import os\nos._exit(3)\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(TargetError, match="ended without an answer"):
            run_trial("module", "leaving")

    def test_files_in_the_users_folder_are_not_imported(self, tmp_path, monkeypatch):
        for name in ("json.py", "tensorrt.py"):
            (tmp_path / name).write_text("import os\nos._exit(3)\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(TargetError, match=r"numpy .* lacks Builder\.") as caught:
            run_trial("module", "numpy")
        assert caught.value.code == "target.unavailable"

    def test_a_process_that_hangs(self):
        with pytest.raises(TargetError, match=r"did not end within 0\.01 s"):
            run_trial("module", "tensorrt", timeout=0.01)

    @no_gpu
    def test_the_round_trip_without_a_gpu_says_what_cuda_says(self):
        with pytest.raises(TargetError) as caught:
            run_trial("cuda")
        assert caught.value.code in ("target.cuda", "target.cuda-missing")

    def test_an_exception_is_an_answer(self):
        with pytest.raises(TargetError, match="TypeError") as caught:
            run_trial("bundle", "only-one-argument")
        assert caught.value.code == "bug"

    def test_the_users_cache_is_left_alone(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
        bundle = unpack_selftest(tmp_path / "b.eex")
        run_trial("bundle", str(bundle), "cpu")
        assert not (tmp_path / "cache").exists()
