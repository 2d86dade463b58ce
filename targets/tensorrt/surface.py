"""The names that we call of TensorRT's Python modules; a test holds this list against the code."""

from __future__ import annotations

from collections.abc import Mapping

COMMON: Mapping[str, tuple[str, ...]] = {
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ),
    "INetworkDefinition": (
        "add_gather",
        "add_input",
        "get_input",
        "get_output",
        "mark_output",
        "num_inputs",
        "num_outputs",
        "unmark_output",
    ),
    "ITensor": ("name", "shape"),
    "ILayer": ("get_output",),
    "OnnxParser": ("get_error", "num_errors", "parse_from_file"),
    "ParserError": ("desc", "node_name", "node_operator"),
    "IBuilderConfig": (
        "add_optimization_profile",
        "builder_optimization_level",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "profiling_verbosity",
        "progress_monitor",
        "set_memory_pool_limit",
        "set_timing_cache",
    ),
    "IOptimizationProfile": ("set_shape",),
    "ITimingCache": ("serialize",),
    "IProgressMonitor": ("phase_finish", "phase_start", "step_complete"),
    "ILogger": ("Severity", "log"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_engine_inspector",
        "create_execution_context",
        "device_memory_size_v2",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "get_tensor_shape",
        "set_device_memory",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
    ),
    "EngineInspector": ("get_engine_information",),
    "BuilderFlag": ("TF32",),
    "DataType": ("INT32",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "LayerInformationFormat": ("JSON",),
    "MemoryPoolType": ("WORKSPACE",),
    "ProfilingVerbosity": ("DETAILED",),
    "TensorIOMode": ("INPUT",),
}
"""Class to members: what TensorRT 10, 11 and TensorRT-RTX must all have."""

RTX: Mapping[str, tuple[str, ...]] = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": (
        "dynamic_shapes_kernel_specialization_strategy",
        "set_execution_context_allocation_strategy",
    ),
    "ComputeCapability": ("CURRENT",),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
}
"""What TensorRT-RTX has besides."""
