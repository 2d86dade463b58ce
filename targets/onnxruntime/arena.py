"""One arena for the tensors that come and go inside the sessions of this process.

A session on its own keeps an arena of its own, which grows in powers of two and is never given
back while the session lives: four stages then hold up to 2.4 times the memory of the whole model.
"""

from __future__ import annotations

from functools import lru_cache

import onnxruntime

_IN_USE = "session.use_env_allocators"


def use_shared_arena(native: onnxruntime.SessionOptions) -> None:
    """Let the session that is opened with these options take its memory from the shared arena.

    What the arena has grown to stays with the process when sessions close, for the next ones.
    """
    _register()
    native.add_session_config_entry(_IN_USE, "1")


@lru_cache(maxsize=1)
def _register() -> None:
    """Tell ONNX Runtime of the arena, once: another one would take its place."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    onnxruntime.create_and_register_allocator(memory, None)
