from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import openvino
import pytest

from edgeexit.bundle.specs import Preprocessing
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.preprocess import bake_preprocessing
from tests.graph.onnx_models import text_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RGB = Preprocessing("image", None, 1 / 255, MEAN, STD)


def image_model(shape: str = "N,3,6,5", dtype: str = "float", opset: int = 20) -> ir.Model:
    """Return a model that passes its input on, so the output is what preprocessing made."""
    return text_model(f"""<ir_version: 9, opset_import: ["" : {opset}]>
        g ({dtype}[{shape}] pixels) => ({dtype}[{shape}] a, {dtype}[{shape}] b) {{
            a = Identity(pixels)
            b = Neg(pixels)
        }}""")


def reference(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Preprocess ``(n, h, w, c)`` in numpy, pixel by pixel from the definition of bilinear."""
    pixels = image.astype(np.float64)
    if preprocessing.size is not None:
        for axis, size in ((1, preprocessing.size[0]), (2, preprocessing.size[1])):
            old = pixels.shape[axis]
            centre = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
            low = np.floor(centre).astype(int)
            high = np.minimum(low + 1, old - 1)
            shape = [1, 1, 1, 1]
            shape[axis] = size
            part = (centre - low).reshape(shape)
            pixels = (1 - part) * pixels.take(low, axis) + part * pixels.take(high, axis)
    scaled = pixels * preprocessing.scale
    return ((scaled - preprocessing.mean) / preprocessing.std).transpose(0, 3, 1, 2)


def answer(engine: str, model: ir.Model, image: np.ndarray, path: Path) -> np.ndarray:
    ir.save(model, path)
    if engine == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path, options).run(["a"], {"image": image})[0]
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return compiled({"image": image})["a"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("raw", "size"), [((6, 5), None), ((9, 12), (6, 5)), ((3, 4), (6, 5)), ((6, 5), (6, 5))]
)
def test_both_engines_compute_what_numpy_does(
    engine: str, raw: tuple[int, int], size: tuple[int, int] | None, tmp_path: Path
):
    preprocessing = Preprocessing("image", size, 1 / 255, MEAN, STD)
    model = image_model()
    bake_preprocessing(model, preprocessing)
    image = np.random.default_rng(1).integers(0, 256, (2, *raw, 3), dtype=np.uint8)
    got = answer(engine, model, image, tmp_path / "m.onnx")
    np.testing.assert_allclose(got, reference(image, preprocessing), atol=2e-5)


def test_the_new_input_is_the_image_and_the_old_one_is_gone():
    model = image_model()
    bake_preprocessing(model, RGB)
    (image,) = model.graph.inputs
    assert (image.name, image.dtype) == ("image", ir.DataType.UINT8)
    assert [str(d) for d in image.shape] == ["N", "6", "5", "3"]
    sized = image_model()
    bake_preprocessing(sized, Preprocessing("pixels", (6, 5), 1.0, MEAN, STD))
    assert [str(d) for d in sized.graph.inputs[0].shape] == ["N", "height", "width", "3"]
    assert sized.graph.inputs[0].name == "pixels"


def test_a_half_precision_input_gets_half_precision(tmp_path: Path):
    model = image_model(dtype="float16")
    bake_preprocessing(model, RGB)
    image = np.zeros((1, 6, 5, 3), dtype=np.uint8)
    got = answer("onnxruntime", model, image, tmp_path / "m.onnx")
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, reference(image, RGB), atol=2e-3)


@pytest.mark.parametrize(
    ("preprocessing", "error", "message"),
    [
        (Preprocessing("image", None, 1.0, (0.5,), (1.0,)), InputError, "1 means and 1 standard"),
        (Preprocessing("image", None, 1.0, MEAN, (1.0, 0.0, 1.0)), InputError, "3 means and 3"),
        (Preprocessing("image", (7, 5), 1.0, MEAN, STD), InputError, r"resizes to \(7, 5\)"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(
    preprocessing: Preprocessing, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        bake_preprocessing(image_model(), preprocessing)


def test_models_that_cannot_take_an_image_are_refused():
    with pytest.raises(ModelError, match=r"the model's inputs are pixels \[N,8\]"):
        bake_preprocessing(image_model("N,8"), RGB)
    with pytest.raises(ModelError, match="needs opset 18; the model has 17"):
        bake_preprocessing(image_model(opset=17), Preprocessing("image", (6, 5), 1.0, MEAN, STD))
