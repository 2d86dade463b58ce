"""The round trip of the self-test on a fake CUDA: what it frees, and that it sees a wrong byte.

That CUDA itself works is shown by nothing here.
"""

from __future__ import annotations

import pytest
from fake_cuda import FakeCuda

from edgeexit.errors import TargetError
from edgeexit.runtime.cuda_check import check_cuda


class Timed(FakeCuda):
    def event_elapsed(self, start, end):
        assert {start, end} <= self.events.keys()
        return 2.0


def test_everything_is_freed():
    cuda = Timed()
    # 2 x 16 MiB in 2 ms.
    assert check_cuda(cuda) == (
        "16 MiB to the GPU and back unchanged, in a stream (16.8 GB/s) and in a CUDA graph"
    )
    assert set(cuda.live().values()) == {0}
    # Both launches replay the copies; nothing else was put in by hand after the capture.
    assert (cuda.calls["launch"], cuda.calls["copy"]) == (2, 4)


@pytest.mark.parametrize(
    ("spoil_after", "where"), [(2, "in a stream have changed"), (4, "in a CUDA graph have")]
)
def test_a_changed_byte_is_seen(spoil_after, where):
    class Wrong(Timed):
        def copy(self, to, source, size, stream):
            super().copy(to, source, size, stream)
            if self.calls["copy"] == spoil_after:
                self.put(stream, lambda: self.view(to, size)[-1:].__iadd__(1))

    cuda = Wrong()
    with pytest.raises(TargetError, match=where) as caught:
        check_cuda(cuda)
    assert caught.value.code == "target.cuda-data"
    assert caught.value.message.startswith("1 of 16777216 bytes")
    assert set(cuda.live().values()) == {0}


@pytest.mark.parametrize("call", ["malloc", "host_alloc", "stream_create", "instantiate", "launch"])
def test_a_call_that_fails_leaves_nothing_behind(call):
    cuda = Timed()
    cuda.refuse.add(call)
    with pytest.raises(TargetError, match=call):
        check_cuda(cuda)
    assert set(cuda.live().values()) == {0}
