from __future__ import annotations

import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from edgeexit.errors import InputError, ModelError
from edgeexit.graph.export import load_model
from edgeexit.graph.normalize import normalize
from tests.graph import networks
from tests.graph.onnx_models import save_with_location, two_exits, weight

NETWORKS = "tests.graph.networks"


def refused(source: object, workdir: Path, code: str, **options: object) -> str:
    with pytest.raises((ModelError, InputError)) as caught:
        load_model(source, workdir=workdir, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.hint.endswith((".", ";")) or caught.value.hint
    return caught.value.message


def shapes(model: ir.Model) -> dict[str, list[str]]:
    return {str(v.name): [str(d) for d in v.shape or ()] for v in model.graph.inputs}


def answers(model: ir.Model, **inputs: np.ndarray) -> list[np.ndarray]:
    proto = ir.serde.serialize_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, inputs)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    ir.save(two_exits(), path)
    return path


def test_an_onnx_file_is_read_and_its_batch_named(onnx_file: Path, tmp_path: Path):
    model = load_model(onnx_file, workdir=tmp_path)
    assert shapes(model) == {"x": ["batch", "8"]}
    assert [v.name for v in model.graph.outputs] == ["a", "b"]


def test_external_weights_stay_in_their_file(tmp_path: Path):
    model = two_exits()
    ir.save(model, tmp_path / "m.onnx", external_data="m.bin", size_threshold_bytes=0)
    loaded = normalize(load_model(tmp_path / "m.onnx", workdir=tmp_path))
    assert isinstance(loaded.graph.initializers["wa"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(loaded.graph.initializers["wa"].const_value.numpy(), weight(8, 3))


def test_input_shape_fixes_dynamic_axes(onnx_file: Path, tmp_path: Path):
    assert shapes(load_model(onnx_file, workdir=tmp_path, input_shape=(4, 8))) == {"x": ["4", "8"]}
    assert shapes(load_model(onnx_file, workdir=tmp_path, input_shape={"x": (None, 8)})) == {
        "x": ["batch", "8"]
    }
    text = refused(onnx_file, tmp_path, "input.shape", input_shape=(None, 9))
    assert "[None, 9] does not fit input 'x'" in text
    assert "no input 'y'; its inputs are x" in refused(
        onnx_file, tmp_path, "input.name", input_shape={"y": (1, 8)}
    )


def test_missing_truncated_and_foreign_files_are_refused(onnx_file: Path, tmp_path: Path):
    assert "no model file" in refused(tmp_path / "none.onnx", tmp_path, "model.missing")
    assert "no model file" in refused(tmp_path / "none.pt2", tmp_path, "model.missing")
    whole = onnx_file.read_bytes()
    for name, data in {
        "truncated": whole[: len(whole) // 2],
        "text": b"this is not a model",
        "empty": b"",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        assert "truncated or not an ONNX file" in refused(path, tmp_path, "model.not-onnx")
    assert "'model.h5' is not a model" in refused("model.h5", tmp_path, "model.source")


def test_flipped_bits_are_refused_or_harmless(onnx_file: Path, tmp_path: Path):
    whole, rng, codes = onnx_file.read_bytes(), random.Random(0), set()
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        onnx_file.write_bytes(damaged)
        try:
            assert len(normalize(load_model(onnx_file, workdir=tmp_path)).graph.outputs) >= 2
        except ModelError as error:
            codes.add(error.code)
    assert "model.not-onnx" in codes


def test_an_invalid_graph_is_refused(onnx_file: Path, tmp_path: Path):
    proto = onnx.load(onnx_file)
    proto.graph.node[0].input[0] = "nowhere"
    onnx_file.write_bytes(proto.SerializeToString())
    assert "truncated or not an ONNX file" in refused(onnx_file, tmp_path, "model.not-onnx")


@pytest.mark.parametrize(
    "location",
    [
        "../outside.bin",
        "/etc/passwd",
        "a/../../outside.bin",
        "C:\\data.bin",
        "..\\o.bin",
        "",
        "missing.bin",
        "link.bin",
        "hard.bin",
        "folder",
    ],
)
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(96))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    (folder / "hard.bin").hardlink_to(tmp_path / "outside.bin")
    (folder / "folder").mkdir()
    save_with_location(folder / "m.onnx", location)
    text = refused(folder / "m.onnx", tmp_path, "model.external-data")
    assert "tensor 'w'" in text


def test_a_tensor_that_claims_terabytes_is_refused_unallocated(onnx_file: Path, tmp_path: Path):
    proto = onnx.load(onnx_file)
    proto.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    onnx_file.write_bytes(proto.SerializeToString())
    assert "beyond the limits" in refused(onnx_file, tmp_path, "model.too-large")


def test_a_cnn_that_returns_a_list(tmp_path: Path):
    model = load_model(f"{NETWORKS}:cnn", workdir=tmp_path, input_shape=(None, 3, 16, 16))
    assert [v.name for v in model.graph.outputs] == ["exit_1", "exit_2"]
    assert shapes(model) == {"image": ["batch", "3", "16", "16"]}
    image = weight(3, 3, 16, 16)
    with torch.no_grad():
        expected = networks.cnn().eval()(torch.from_numpy(image))
    for got, wanted in zip(answers(normalize(model), image=image), expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def test_a_text_encoder_that_returns_a_dataclass_with_a_dynamic_length(tmp_path: Path):
    ids = np.arange(12).reshape(2, 6) % 7
    samples = {"ids": ids, "mask": np.ones((2, 6), dtype=np.int64)}
    model = load_model(
        f"{NETWORKS}:text_encoder",
        workdir=tmp_path,
        input_shape={"ids": (None, "length"), "mask": (None, "length")},
        samples=samples,
    )
    assert shapes(model) == {"ids": ["batch", "length"], "mask": ["batch", "length"]}
    normalize(model)
    assert [v.name for v in model.graph.outputs] == ["first", "last"]
    longer = np.arange(45).reshape(5, 9)
    mask = (longer % 4 > 0).astype(np.int64)
    with torch.no_grad():
        wanted = networks.text_encoder().eval()(torch.from_numpy(longer), torch.from_numpy(mask))
    got = answers(model, ids=longer, mask=mask)
    np.testing.assert_allclose(got[0], wanted.first.numpy(), atol=1e-5)
    np.testing.assert_allclose(got[1], wanted.last.numpy(), atol=1e-5)


def test_exits_name_the_outputs_of_a_sequence_and_one_sample_gives_the_shapes(tmp_path: Path):
    model = load_model(
        f"{NETWORKS}:linears",
        workdir=tmp_path,
        exits=("easy", "hard"),
        samples={"anything": weight(1, 8)},
    )
    assert [v.name for v in model.graph.outputs] == ["easy", "hard"]
    assert shapes(model) == {"x": ["batch", "8"]}


def test_data_dependent_control_flow_is_explained(tmp_path: Path):
    text = refused(f"{NETWORKS}:leaving", tmp_path, "model.control-flow", input_shape=(None, 8))
    assert "its forward decides by the values of tensors" in text


@pytest.mark.parametrize(
    ("factory", "options", "code", "message"),
    [
        ("broken", {"input_shape": (1, 8)}, "model.factory", "weights are on another machine"),
        ("not_a_module", {"input_shape": (1, 8)}, "model.factory", "returned a int"),
        ("nothing", {"input_shape": (1, 8)}, "model.factory", "AttributeError"),
        ("linears", {}, "input.shape", "needs the shapes"),
        ("linears", {"input_shape": (None, 9)}, "model.forward", "does not run on x (2, 9)"),
        ("linears", {"input_shape": {"y": (2, 8)}}, "input.name", "no input 'y'"),
    ],
)
def test_factories_that_do_not_work(
    factory: str, options: dict[str, object], code: str, message: str, tmp_path: Path
):
    assert message in refused(f"{NETWORKS}:{factory}", tmp_path, code, **options)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "linears.pt2"
    batch = torch.export.Dim("batch")
    module = networks.linears().eval()
    exported = torch.export.export(module, (torch.randn(2, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, path)
    return path


def test_an_exported_program_is_read_without_its_pickles(program: Path, tmp_path: Path):
    model = load_model(program, workdir=tmp_path)
    assert shapes(model) == {"x": ["batch", "8"]}
    assert [v.name for v in model.graph.outputs] == ["exit_1", "exit_2"]
    x = weight(3, 8)
    with torch.no_grad():
        expected = networks.linears().eval()(torch.from_numpy(x))
    np.testing.assert_allclose(answers(model, x=x)[1], expected[1].numpy(), atol=1e-6)
    assert not (tmp_path / "checked.pt2").exists()


class Payload:
    """A pickle that leaves a trace where it is run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def rewritten(program: Path, target: Path, change: dict[str, bytes], add: dict[str, bytes]) -> Path:
    """Copy an archive with some records replaced and some added."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            name = info.filename.partition("/")[2]
            copy.writestr(info.filename, change.get(name, source.read(info)))
        for name, data in add.items():
            copy.writestr(f"linears/{name}", data)
    return target


def record(program: Path, name: str) -> str:
    with zipfile.ZipFile(program) as source:
        return source.read(f"linears/{name}").decode()


def test_sample_inputs_that_are_a_pickle_are_never_read(program: Path, tmp_path: Path):
    trace = tmp_path / "ran"
    change = {"data/sample_inputs/model.pt": pickle.dumps(Payload(trace))}
    evil = rewritten(program, tmp_path / "evil.pt2", change, {})
    assert len(load_model(evil, workdir=tmp_path).graph.outputs) == 2
    assert not trace.exists()


def test_guards_which_are_python_source_are_dropped(program: Path, tmp_path: Path):
    trace = tmp_path / "ran"
    text = record(program, PROGRAM)
    code = f"__import__('pathlib').Path('{trace}').touch() is None"
    changed = text.replace('"guards_code": []', f'"guards_code": [{json.dumps(code)}]')
    assert changed != text
    evil = rewritten(program, tmp_path / "evil.pt2", {PROGRAM: changed.encode()}, {})
    assert len(load_model(evil, workdir=tmp_path).graph.outputs) == 2
    assert not trace.exists()


WEIGHTS, PROGRAM = "data/weights/model_weights_config.json", "models/model.json"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (WEIGHTS, '"use_pickle": false', '"use_pickle": true'),
        (WEIGHTS, '"use_pickle": false', '"use_pickle": 1'),
        (WEIGHTS, '"path_name": "weight_0"', '"path_name": "../weight_0"'),
        (PROGRAM, "torch.ops.aten.relu.default", "torch.hub.load"),
        (PROGRAM, "torch.ops.aten.relu.default", "torch.load"),
        (PROGRAM, "torch.ops.aten.relu.default", "_operator.__class__.mro"),
        (PROGRAM, "torch.ops.aten.relu.default", "#anything:evil"),
        (PROGRAM, '"expr_str": "', '"expr_str": "__import__(chr(111)+chr(115))+'),
        (PROGRAM, '"expr_str": "', '"expr_str": "exec(s0)+'),
        (PROGRAM, '"expr_str": "', '"expr_str": "9**9**9**9+'),
        (PROGRAM, '"expr_str": "', '"expr_str": "s0.__class__+'),
        (PROGRAM, '"expr_str": "', '"expr_str": "Symbol(\'print(1)\')+'),
    ],
)
def test_a_program_that_asks_for_more_than_arithmetic_is_refused(
    name: str, old: str, new: str, program: Path, tmp_path: Path
):
    text = record(program, name)
    assert old in text
    evil = rewritten(program, tmp_path / "evil.pt2", {name: text.replace(old, new).encode()}, {})
    assert "could run code" in refused(evil, tmp_path, "model.unsafe-pt2")


@pytest.mark.parametrize(
    "name",
    [
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/aotinductor/model/x.so",
        "models/other.json",
        "data/weights/../../x",
        "models/model.json",
    ],
)
def test_records_that_are_no_plain_data_are_refused(name: str, program: Path, tmp_path: Path):
    trace = tmp_path / "ran"
    evil = rewritten(program, tmp_path / "evil.pt2", {}, {name: pickle.dumps(Payload(trace))})
    assert "could run code" in refused(evil, tmp_path, "model.unsafe-pt2")
    assert not trace.exists()


def test_a_damaged_program_is_refused(program: Path, tmp_path: Path):
    data = program.read_bytes()
    for name, damaged in {"cut": data[: len(data) // 2], "text": b"not a zip"}.items():
        path = tmp_path / f"{name}.pt2"
        path.write_bytes(damaged)
        assert "truncated or not a .pt2" in refused(path, tmp_path, "model.not-pt2")
    broken = rewritten(program, tmp_path / "broken.pt2", {PROGRAM: b"{"}, {})
    assert "not a .pt2" in refused(broken, tmp_path, "model.not-pt2")
    version = json.dumps({"graph_module": {}}).encode()
    other = rewritten(program, tmp_path / "other.pt2", {PROGRAM: version}, {})
    assert "cannot load other.pt2" in refused(other, tmp_path, "model.not-pt2")
