"""An engine that dies of a model must not take the compiler with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeexit.engine_check import main, require_survival
from edgeexit.errors import TargetError
from tests.runtime.toy import write_bundle


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_good_bundle_survives(tmp_path: Path, device: str) -> None:
    require_survival(write_bundle(tmp_path, device=device).folder, device)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("kill -SEGV $$", "target.died", "was killed by SIGSEGV"),
        ("kill -KILL $$", "target.died", "was killed by SIGKILL"),
        ("echo 'the graph is odd.' >&2; exit 1", "target.refused", "the graph is odd."),
    ],
)
def test_how_a_fake_child_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: str, said: str
) -> None:
    fake = tmp_path / "fake-python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(TargetError, match=said) as caught:
        require_survival(tmp_path, "x86")
    assert caught.value.code == code
    assert caught.value.hint


def test_a_refusal_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(tmp_path / "missing.eex"), "cpu") == 1
    assert capsys.readouterr().err.count("\n") == 1
