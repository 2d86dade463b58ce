"""The plan store: built once, kept, trusted only where it is ours, whole after every kill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edgeexit.bundle import DeviceCache
from edgeexit.errors import TargetError
from edgeexit.targets.tensorrt import plans, private
from edgeexit.targets.tensorrt.job import BuildJob
from edgeexit.targets.tensorrt.plans import PlanStore
from tests.targets.tensorrt.graphs import PRODUCTS, profiles, save_stage

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: no plan is built")

DIGEST = "ab" * 32
DEVICE = "tensorrt_rtx 1.7 | RTX 3080 | sm86"
ENVIRONMENT = {
    "version": "1.7.1.116",
    "cuda": "13.0",
    "driver": "13.2",
    "gpu": "RTX 3080",
    "capability": "8.6",
    "l4t": "",
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> BuildJob:
    model = save_stage(tmp_path_factory.mktemp("graphs") / "stage-1.onnx", "int8", 1)
    return BuildJob(str(model), compute_capability="sm86")


def cache() -> DeviceCache:
    return DeviceCache(DIGEST, DEVICE)


def store(**kwargs) -> PlanStore:
    return PlanStore(cache(), "tensorrt_rtx", ENVIRONMENT, **kwargs)


def plan_file(job: BuildJob) -> Path:
    return cache().folder / f"{store().name(job)}.plan"


def files(root: Path) -> list[str]:
    return sorted(p.suffix for p in root.rglob("*") if p.is_file() and p.name != "lock")


def test_a_plan_is_built_once(job: BuildJob, root: Path) -> None:
    told: list[float] = []
    first = store().plan(job, lambda phase, fraction: told.append(fraction))
    assert not first.built.cached
    assert first.note == ""
    assert told[-1] == 1.0
    again = store().plan(job, lambda phase, fraction: pytest.fail("it is built again"))
    assert again.built.cached
    assert again.data == first.data
    assert again.built.layers == first.built.layers
    assert {x.name for x in again.built.layers if x.precision == "int8"} >= set(PRODUCTS)
    assert again.built.size == len(first.data)
    assert again.built.seconds == first.built.seconds > 0
    assert files(root) == [".json", ".plan"]
    assert plan_file(job).stat().st_mode & 0o777 == 0o600


def test_without_a_cache_every_plan_is_built(job: BuildJob, root: Path) -> None:
    store = PlanStore(None, "tensorrt_rtx", ENVIRONMENT)
    assert not store.plan(job).built.cached
    assert not store.plan(job).built.cached
    assert not root.exists()


def test_a_key_for_everything_that_a_plan_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    base = BuildJob("/somewhere/graphs/stage-1.onnx", profiles=profiles())
    jobs = [
        replace(base, model="/somewhere/graphs/stage-2.onnx"),
        replace(base, model="/somewhere/other/stage-1.onnx"),
        replace(base, profiles=profiles(16)),
        replace(base, profiles=profiles()[:1]),
        replace(base, optimization_level=5),
        replace(base, workspace=1 << 30),
        replace(base, compute_capability="sm86"),
        replace(base, tf32=True),
    ]
    keys = {store().key(job) for job in (base, *jobs)}
    assert len(keys) == 1 + len(jobs)
    for name in ENVIRONMENT:
        other = {**ENVIRONMENT, name: "another"}
        keys.add(PlanStore(None, "tensorrt_rtx", other).key(base))
    keys.add(PlanStore(None, "tensorrt", ENVIRONMENT).key(base))
    monkeypatch.setattr(plans, "BUILDER", plans.BUILDER + 1)
    keys.add(store().key(base))
    assert len(keys) == 1 + len(jobs) + len(ENVIRONMENT) + 2


def test_an_equal_key_for_what_a_plan_does_not_depend_on() -> None:
    base = BuildJob("/somewhere/graphs/stage-1.onnx", profiles=profiles())
    same = replace(base, model="/elsewhere/graphs/stage-1.onnx", timing_cache="times.bin")
    turned = dict(reversed(ENVIRONMENT.items()))
    assert store().key(base) == store().key(same)
    assert store().key(base) == PlanStore(None, "tensorrt_rtx", turned).key(base)
    assert store().name(base).startswith("plan-stage-1-")


def forged(name: str, value: object) -> bytes:
    """Return a record written for another device."""
    other = DeviceCache(DIGEST, "another device")
    other.write_json(name, value)
    return (other.folder / f"{name}.json").read_bytes()


def spoil_plan(path: Path, record: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_plan(path: Path, record: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def spoil_record(path: Path, record: Path) -> None:
    record.write_bytes(record.read_bytes().replace(b"int8", b"int9", 1))


def forge_record(path: Path, record: Path) -> None:
    record.write_bytes(forged(record.stem, {"sha256": "0" * 64}))


def open_to_all(path: Path, record: Path) -> None:
    path.chmod(0o666)


def link(path: Path, record: Path) -> None:
    moved = path.with_suffix(".moved")
    path.rename(moved)
    path.symlink_to(moved)


def give_away(path: Path, record: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    ("harm", "note"),
    [
        (spoil_plan, "the kept plan is damaged"),
        (cut_plan, "the kept plan is damaged"),
        (lambda path, record: record.unlink(), "has no record that can be trusted"),
        (spoil_record, "has no record that can be trusted"),
        (forge_record, "has no record that can be trusted"),
        (open_to_all, r"others may write to it \(mode 666\)"),
        (link, "it is a link"),
        (give_away, "it belongs to user 12345, not to you"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_built_anew(job: BuildJob, harm, note: str) -> None:
    store().plan(job)
    path = plan_file(job)
    harm(path, path.with_suffix(".json"))
    told: list[str] = []
    plan = store().plan(job, lambda phase, fraction: told.append(phase))
    assert not plan.built.cached
    assert re.search(note, plan.note)
    assert told[0] == f"building anew: {plan.note}"
    again = store().plan(job)
    assert again.built.cached
    assert again.data == plan.data


def test_a_folder_that_others_may_write_to_is_refused(job: BuildJob, root: Path) -> None:
    store().plan(job)
    cache().folder.chmod(0o777)
    with pytest.raises(TargetError, match=r"others may write to it \(mode 777\)") as refused:
        store().plan(job)
    assert refused.value.code == "target.plan-folder"
    assert f"chmod 700 {cache().folder}" in refused.value.hint


def test_a_plan_of_another_machine_needs_trust(
    job: BuildJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = tmp_path / "machine-id"
    there.write_text("0123456789abcdef0123456789abcdef\n")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(private, "_MACHINE_ID", there)
        foreign = store().plan(job)
    assert store(trust=True).plan(job).data == foreign.data
    here = store().plan(job)
    assert "was built on another machine" in here.note
    assert not here.built.cached
    assert store().plan(job).built.cached
    record = json.loads(plan_file(job).with_suffix(".json").read_text())
    assert "0123456789abcdef" not in str(record)


def test_a_plan_of_another_device_is_not_found(job: BuildJob) -> None:
    store().plan(job)
    other = PlanStore(DeviceCache(DIGEST, "another GPU"), "tensorrt_rtx", ENVIRONMENT)
    assert not other.plan(job).built.cached


def test_a_plan_that_does_not_load_is_rebuilt_once(job: BuildJob) -> None:
    store().plan(job)
    tried: list[bytes] = []

    def load(data: bytes) -> str | None:
        tried.append(data)
        return None if len(tried) == 1 else "an engine"

    engine, plan = store().load(job, load)
    assert engine == "an engine"
    assert len(tried) == 2
    assert plan.note == "the kept plan does not load"
    assert store().plan(job).data == plan.data
    with pytest.raises(TargetError, match="does not load on this GPU") as lost:
        store().load(job, lambda data: tried.append(data))
    assert lost.value.code == "target.plan-load"
    assert len(tried) == 4


SCRIPT = """
import sys
from edgeexit.bundle import DeviceCache
from edgeexit.targets.tensorrt.job import BuildJob
from edgeexit.targets.tensorrt.plans import PlanStore

digest, device, environment, job = eval(sys.stdin.readline())
store = PlanStore(DeviceCache(digest, device), "tensorrt_rtx", environment)
plan = store.plan(BuildJob.from_json(job), lambda phase, fraction: print("at", phase, flush=True))
print("built", plan.built.cached, plan.sha256, flush=True)
"""


def process(job: BuildJob) -> subprocess.Popen[str]:
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert running.stdin is not None
    running.stdin.write(repr((DIGEST, DEVICE, ENVIRONMENT, job.to_json())) + "\n")
    running.stdin.flush()
    return running


def test_two_processes_build_a_plan_once(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage-1.onnx", "int8", 1, depth=40)
    job = BuildJob(str(model), compute_capability="sm86")
    running = [process(job), process(job)]
    told = [child.communicate()[0].splitlines()[-1].split() for child in running]
    assert sorted(line[1] for line in told) == ["False", "True"]
    assert told[0][2] == told[1][2]


def test_who_waits_for_another_build_is_told(job: BuildJob) -> None:
    store().plan(job)
    plan_file(job).unlink()
    told: list[str] = []
    waits = threading.Event()

    def report(phase: str, fraction: float) -> None:
        told.append(phase)
        waits.set()

    with cache().lock():
        thread = threading.Thread(target=store().plan, args=(job, report))
        thread.start()
        assert waits.wait(20)
    thread.join()
    assert told[0] == "waiting for another process that builds"
    assert told[-1] == "Building engine"


def test_a_kill_in_mid_build_leaves_nothing_behind(tmp_path: Path, root: Path) -> None:
    model = save_stage(tmp_path / "stage-1.onnx", "int8", 1, depth=40)
    job = BuildJob(str(model), compute_capability="sm86")
    running = process(job)
    assert running.stdout is not None
    assert running.stdout.readline().startswith("at ")
    children = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    running.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    assert ".plan" not in files(root)
    assert ".json" not in files(root)
    plan = store().plan(job)
    assert not plan.built.cached
    assert store().plan(job).data == plan.data


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, root: Path) -> None:
    (tmp_path / "stage-1.onnx").write_bytes(b"no model")
    with pytest.raises(TargetError, match=r"cannot read stage-1.onnx") as refused:
        store().plan(BuildJob(str(tmp_path / "stage-1.onnx"), compute_capability="sm86"))
    assert refused.value.code == "target.parse"
    assert files(root) == []
    with cache().lock(timeout=5):
        pass
