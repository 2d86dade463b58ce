"""What is read of a processor, from the real file and from files of other machines."""

from __future__ import annotations

import os

import pytest

from edgeexit.targets.processor import CPUINFO, available_threads, read_processor

XEON = "processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512f amx_bf16 amx_int8\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 i8mm\nCPU part\t: 0xd49\n"
BOARD = f"{ARM}\nModel\t\t: Some Board Rev 1\n"


@pytest.mark.parametrize(
    ("text", "name", "features", "bf16"),
    [
        (XEON, "Some Xeon", ("avx2", "avx512f", "amx_int8", "amx_bf16"), True),
        (XEON.replace("amx_bf16", ""), "Some Xeon", ("avx2", "avx512f", "amx_int8"), False),
        (BOARD, "Some Board Rev 1", ("neon", "neon_dotprod", "neon_bf16", "neon_i8mm"), False),
    ],
)
def test_files_of_other_machines(tmp_path, text, name, features, bf16):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    processor = read_processor(file)
    assert (processor.name, processor.features) == (name, features)
    assert processor.computes_bf16 is bf16


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00no colon"])
def test_without_a_usable_file_the_name_is_pythons(tmp_path, content):
    file = tmp_path / "cpuinfo"
    if content is not None:
        file.write_bytes(content)
    processor = read_processor(file)
    assert processor.name
    assert processor.features == ()


@pytest.mark.skipif(not CPUINFO.exists(), reason="no /proc/cpuinfo here")
def test_this_machine():
    text = CPUINFO.read_text()
    processor = read_processor()
    assert "model name" not in text or f": {processor.name}\n" in text
    for feature in ("avx2", "avx512_bf16", "amx_int8"):
        assert (feature in processor.features) == (f" {feature}" in text)
    assert 1 <= available_threads() <= (os.cpu_count() or 1)
