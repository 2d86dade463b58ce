"""From an ONNX file to a plan: the calls that only the builder's process makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.errors import TargetError
from edgeexit.targets.faults import check_tensors
from edgeexit.targets.tensorrt.job import GATHER, MEMORY_HINT, BuildJob
from edgeexit.targets.tensorrt.progress import monitor
from edgeexit.targets.tensorrt.timing import read_timings, write_timings

if TYPE_CHECKING:
    from edgeexit.targets.info import Report
    from edgeexit.targets.tensorrt.api import Api

_SHOWN_ERRORS = 3
_MEMORY = re.compile(r"out ?of ?memory|memory ?allocation|insufficient memory", re.IGNORECASE)
_HINT = (
    "compile the bundle again for this device; if that does not help, report these words and the "
    "output of edgeexit doctor."
)


def build(api: Api, logger: Any, job: BuildJob, report: Report) -> bytes:
    """Build a plan.

    Args:
        api: The TensorRT module.
        logger: Its logger; outlives this call.
        job: What to build.
        report: Told the phase and the progress, from 0 to 1.

    Raises:
        TargetError: The parser or the builder refused.
    """
    try:
        builder = api.module.Builder(logger)
    except TypeError as error:
        raise refusal(api, "no builder can be made; is there a usable GPU?") from error
    network = builder.create_network(api.network_flags())
    if job.model == GATHER:
        _add_gather(api, network)
    else:
        # The network reads the weights out of the parser's memory.
        parser = api.module.OnnxParser(network, logger)
        _parse(api, parser, Path(job.model))
        _check_network(network, job)
    _fix_shapes(network, job)
    config = _configure(api, builder, job)
    _add_profiles(api, builder, config, network, job)
    config.progress_monitor = monitor(api.module, report)
    _use_timings(api, config, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise refusal(api, f"{api.name} {api.version} cannot build {Path(job.model).name}")
    _keep_timings(api, config, job)
    return bytes(plan)


def refusal(api: Api, what: str) -> TargetError:
    """Return the error for a build that was refused, with the builder's own words."""
    said = tuple(dict.fromkeys(api.log.errors or api.log.words))
    words = " ".join(said[-_SHOWN_ERRORS:]) or "it gave no reason."
    return TargetError(
        f"{what}. The builder's own words: {words}",
        hint=MEMORY_HINT if _MEMORY.search(words) else _HINT,
        code="target.build",
    )


def _parse(api: Api, parser: Any, model: Path) -> None:
    if parser.parse_from_file(str(model)):
        return
    told = []
    for index in range(min(parser.num_errors, _SHOWN_ERRORS)):
        error = parser.get_error(index)
        node = f"node {error.node_name()!r} ({error.node_operator()}): "
        told.append((node if error.node_name() else "") + error.desc())
    raise TargetError(
        f"{api.name} {api.version} cannot read {model.name}. The parser's own words: "
        f"{' '.join(told) or 'it gave no reason.'}",
        hint="compile the bundle for a TensorRT device (edgeexit compile --target jetson): its "
        "lint names the remedy.",
        code="target.parse",
    )


def _check_network(network: Any, job: BuildJob) -> None:
    """Check the tensors' names, and drop the outputs that the stage's specs do not name."""
    model = Path(job.model)
    if job.inputs:
        found = [network.get_input(index).name for index in range(network.num_inputs)]
        check_tensors(model, [spec.name for spec in job.inputs], found, "inputs")
    if job.outputs:
        wanted = {spec.name for spec in job.outputs}
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        check_tensors(model, wanted, [tensor.name for tensor in outputs], "outputs")
        for tensor in outputs:
            if tensor.name not in wanted:
                network.unmark_output(tensor)


def _add_gather(api: Api, network: Any) -> None:
    int32 = api.module.DataType.INT32
    data = network.add_input("data", int32, (-1, -1, -1))
    rows = network.add_input("rows", int32, (-1,))
    taken = network.add_gather(data, rows, 1).get_output(0)
    taken.name = "taken"
    network.mark_output(taken)


def _fix_shapes(network: Any, job: BuildJob) -> None:
    """Make an input static that has one shape in all profiles: its kernels need no sizes then."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shapes = {
            shape
            for profile in job.profiles
            if tensor.name in profile
            for shape in profile[tensor.name]
        }
        if len(shapes) == 1:
            tensor.shape = shapes.pop()


def _configure(api: Api, builder: Any, job: BuildJob) -> Any:
    module = api.module
    config = builder.create_builder_config()
    # Names the layers and their types in the log and in the engine inspector; costs no speed.
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    api.choose_gpu(config, job.compute_capability)
    if not job.tf32:
        config.clear_flag(module.BuilderFlag.TF32)
    if job.optimization_level is not None:
        config.builder_optimization_level = job.optimization_level
    if job.workspace is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, job.workspace)
    return config


def _add_profiles(api: Api, builder: Any, config: Any, network: Any, job: BuildJob) -> None:
    inputs = {network.get_input(index).name for index in range(network.num_inputs)}
    for number, shapes in enumerate(job.profiles):
        profile = builder.create_optimization_profile()
        try:
            for name in sorted(inputs & shapes.keys()):
                profile.set_shape(name, *shapes[name])
            added = config.add_optimization_profile(profile)
        except (RuntimeError, TypeError, ValueError) as error:
            raise refusal(api, f"optimization profile {number} is refused ({error})") from error
        if added < 0:
            raise refusal(api, f"optimization profile {number}, {dict(shapes)}, is refused")


def _use_timings(api: Api, config: Any, job: BuildJob) -> None:
    if job.timing_cache is None or not api.measures:
        return
    known, fault = read_timings(Path(job.timing_cache))
    if fault:
        api.log.add(fault, warning=True, error=False)
    for data in dict.fromkeys((known, b"")):
        timings = config.create_timing_cache(data)
        # False: times measured on another GPU would choose the wrong kernels.
        if timings is not None and config.set_timing_cache(timings, False):
            return
        api.log.add(f"the builder refused {job.timing_cache}; measuring anew", True, False)


def _keep_timings(api: Api, config: Any, job: BuildJob) -> None:
    if job.timing_cache is None or not api.measures:
        return
    timings = config.get_timing_cache()
    data = None if timings is None else timings.serialize()
    if data is not None:
        fault = write_timings(Path(job.timing_cache), bytes(data))
        if fault:
            api.log.add(fault, warning=True, error=False)
