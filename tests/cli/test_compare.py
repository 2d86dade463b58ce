"""``edgeexit calibrate --compare``: what it answers and refuses."""

from __future__ import annotations

from tests.cli.models import write_model

CALIBRATE = ("calibrate", "model.eex", "--data", "data.npz", "--budget", "0.7")


def test_another_engine_side_by_side(edgeexit, work):
    words = ("compile", "model.onnx", "-o", "x86.eex", "--target", "x86", "--precision", "f32")
    assert edgeexit(*words).code == 0
    answer = edgeexit(*CALIBRATE, "--compare", "x86.eex", "--json").json["compared"]
    assert (answer["other"], answer["device"], answer["origin"]) == ("x86.eex", "x86", "fitted")
    point = answer["points"][-1]
    assert set(point) == {
        "budget", "exit_flips", "engine_flips", "answer_flips", "here", "there",
    }  # fmt: skip
    assert set(point["here"]) == {
        "cost", "quality", "borrowed_cost", "borrowed_quality", "error", "lost",
    }  # fmt: skip
    assert point["budget"] == 0.7
    assert abs(point["here"]["error"]) < 0.01
    assert not (work / "x86.eex" / "exits.json").exists()


def test_earlier_exits(edgeexit, work):
    text = edgeexit(*CALIBRATE, "--compare", "model.eex").stdout
    assert "earlier exits of this bundle (gain-soft, the same data)" in text
    assert "these there" not in text
    assert edgeexit(*CALIBRATE, "--json").json["compared"] is None


def test_another_model_is_refused(edgeexit, work):
    write_model(work / "wide.onnx", hidden=24)
    assert edgeexit("compile", "wide.onnx", "--precision", "f32").code == 0
    before = (work / "model.eex" / "exits.json").read_bytes()
    words = (*CALIBRATE, "--policy", "single", "--compare", "wide.eex")
    edgeexit(*words).failed(3, "bundles of two models", "source model", "compile both")
    edgeexit(*CALIBRATE, "--compare", "nowhere").failed(5, "nowhere does not exist")
    assert (work / "model.eex" / "exits.json").read_bytes() == before
