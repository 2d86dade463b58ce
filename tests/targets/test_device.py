"""Device files: the built-in ones are sound, a user's own is checked key by key."""

from __future__ import annotations

import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.device import device_names, load_device
from edgeexit.targets.registry import get_target

OWN = """
name = "kiosk"
description = "The kiosk in the hall"
engine = "openvino"
precisions = ["f32", "int8"]
default_precision = "int8"
threads = 4
batch_buckets = [1, 4]
int8_compute = "f32"
[settings]
cpu_pinning = true
"""


def write(tmp_path, text):
    path = tmp_path / "kiosk.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", device_names())
def test_built_in_devices_name_a_target_that_has_their_precisions_and_settings(name):
    device = load_device(name)
    target = get_target(device.engine)
    assert device.name == name
    assert set(device.precisions) <= set(target.precisions)
    assert set(device.settings) <= set(target.settings)


GPUS = ("jetson", "jetson-orin", "jetson-orin-nano", "jetson-thor", "nvidia-gpu", "rtx")


def test_the_built_in_devices():
    assert device_names() == tuple(sorted(("cpu", "x86", *GPUS)))
    assert load_device("x86").engine == "openvino"
    assert load_device("cpu").engine == "onnxruntime"


@pytest.mark.parametrize("name", GPUS)
def test_devices_whose_engines_are_built_on_them(name):
    device = load_device(name)
    assert device.engine == ("rtx" if name == "rtx" else "tensorrt")
    assert get_target(device.engine).builds_on_device
    # Without data to quantize with, `compile --target jetson` must do something sensible.
    assert (device.default_precision, device.precisions) == ("fp16", ("f32", "fp16", "int8"))
    assert device.options("int8").int8_compute == "fp16"
    # Engines for one size each would be built and held once a bucket.
    assert device.static_batches == ()
    for key, value in device.settings.items():
        get_target(device.engine)._check_setting(key, value)


def test_smaller_boards_get_smaller_batches_and_scratch():
    boards = [load_device(name) for name in ("jetson-orin-nano", "jetson-orin", "jetson-thor")]
    largest = [board.batch_buckets[-1] for board in boards]
    scratch = [board.settings["workspace"] for board in boards]
    assert largest == sorted(set(largest))
    assert scratch == sorted(set(scratch))
    # The file for any board must also suit one with 8 GB.
    any_board = load_device("jetson")
    assert any_board.batch_buckets[-1] <= 16
    assert any_board.settings["workspace"] <= 2**30
    # A GPU with memory of its own is TensorRT's to use.
    assert "workspace" not in load_device("nvidia-gpu").settings


@pytest.mark.parametrize("as_text", [True, False])
def test_a_users_own_file(tmp_path, as_text):
    path = write(tmp_path, OWN)
    device = load_device(str(path) if as_text else path)
    assert device.batch_buckets == (1, 4)
    options = device.options(dims={"batch": 2}, native=["h"])
    assert (options.precision, options.threads, options.int8_compute) == ("int8", 4, "f32")
    assert (options.dims, options.native) == ({"batch": 2}, frozenset({"h"}))
    assert options.settings == {"cpu_pinning": True}
    assert device.options("f32").precision == "f32"


def test_a_precision_that_the_device_lacks(tmp_path):
    with pytest.raises(TargetError, match="'kiosk' has no precision 'bf16': it has f32, int8") as e:
        load_device(write(tmp_path, OWN)).options("bf16")
    assert e.value.code == "target.precision"


def test_optional_keys(tmp_path):
    device = load_device(write(tmp_path, OWN[: OWN.index("int8_compute")]))
    assert (device.int8_compute, device.settings, device.power) == ("auto", {}, {})


def test_constants_of_the_cpu_time_model(tmp_path):
    text = f"{OWN}\n[power]\nidle_watts = 2\nwatts_per_core = 3.5\n"
    assert load_device(write(tmp_path, text)).power == {"idle_watts": 2, "watts_per_core": 3.5}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("threads = 4", "thread = 4", "unknown key 'thread'; the keys are name, "),
        ("threads = 4", "", "key 'threads' is missing"),
        ("threads = 4", "threads = -1", "threads = -1 is not a whole number from 0"),
        ("threads = 4", "threads = true", "threads = True is not a whole number"),
        ("threads = 4", 'threads = "4"', "threads = '4' is not a whole number"),
        ("[1, 4]", "[4, 1]", r"\[4, 1\] is not an ascending list"),
        ("[1, 4]", "[2, 4]", "is not an ascending list of whole numbers from 1"),
        ("[1, 4]", "[]", "is not an ascending list"),
        ("[1, 4]", "[1, true]", "is not an ascending list"),
        ("[1, 4]", "4", "batch_buckets = 4 is not"),
        ('["f32", "int8"]', '["f32", "int4"]', "is not a list of some of f32, bf16, fp16, int8"),
        ('["f32", "int8"]', '["int8", "int8"]', "each once"),
        ('["f32", "int8"]', "[]", "is not a list of some"),
        ('["f32", "int8"]', '["f32"]', "default_precision is not among precisions"),
        ('"int8"\nthreads', '"half"\nthreads', "'half' is not one of f32, bf16, fp16, int8"),
        ('int8_compute = "f32"', 'int8_compute = "f16"', "'f16' is not one of auto, f32, bf16"),
        ('name = "kiosk"', 'name = " "', "name = ' ' is not a text"),
        ('name = "kiosk"', "name = [1", "it is no TOML"),
        ("[settings]\ncpu_pinning = true", "settings = 1", "settings = 1 is not a table"),
        ("[settings]", "power = 5\n[settings]", "power = 5 is not a table of idle_watts and"),
        ("[settings]", "[power]\nidle_watts = 5\n[settings]", "is not a table of idle_watts and"),
        (
            "[settings]",
            "[power]\nidle_watts = -1\nwatts_per_core = 2\n[settings]",
            "both from 0 to 10,000",
        ),
        (
            "[settings]",
            "[power]\nidle_watts = nan\nwatts_per_core = 2\n[settings]",
            "both from 0 to 10,000",
        ),
    ],
)
def test_every_fault_of_a_file_is_named(tmp_path, old, new, words):
    assert old in OWN
    path = write(tmp_path, OWN.replace(old, new))
    with pytest.raises(TargetError, match=words) as caught:
        load_device(path)
    assert caught.value.code == "target.device-file"
    assert str(path) in caught.value.message


def test_names_and_paths_that_are_nothing(tmp_path):
    with pytest.raises(
        TargetError, match="no device 'x87': the devices are cpu, jetson, "
    ) as caught:
        load_device("x87")
    assert caught.value.code == "target.device"
    with pytest.raises(TargetError, match="it cannot be read"):
        load_device(tmp_path / "none.toml")
    binary = tmp_path / "noise.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match="it cannot be read"):
        load_device(binary)
