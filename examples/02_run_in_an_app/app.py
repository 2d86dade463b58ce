"""From a multi-exit ONNX file to answers at a chosen cost, in Python.

Run it from anywhere: ``python examples/02_run_in_an_app/app.py``. It writes ``demo.eex`` and
``trace.json`` into the present folder.
"""

from __future__ import annotations

import numpy as np

import edgeexit
from edgeexit import demo


def main() -> None:
    """Compile, calibrate, and run with the dial at three places."""
    bundle = edgeexit.compile_model(demo.model_path(), "demo.eex", target="cpu")
    edgeexit.calibrate_exits(bundle, demo.calibration_path(), budget=0.5)

    with np.load(demo.evaluation_path()) as test:
        images, labels = test["image"][:1000], test["y"][:1000]

    with edgeexit.Runtime(bundle, budget=0.5) as runtime:
        for budget in (0.7, 0.5, 0.3):
            runtime.budget = budget
            result = runtime(images)
            accuracy = (result.labels == labels).mean()
            shares = np.bincount(result.exits, minlength=5)[1:] / len(images)
            print(
                f"budget {budget}: accuracy {accuracy:.3f}, cost {result.cost:.3f}, "
                f"exits {np.round(shares, 2)}"
            )

        one = runtime(images[0])  # a single image, no batch axis
        print(f"one image: class {one.labels[0]} at exit {one.exits[0]}")

        with runtime.profile() as profile:
            for image in images[:200]:
                runtime(image)
        profile.save_trace("trace.json")  # opens in Perfetto or chrome://tracing
        print("wrote trace.json")


if __name__ == "__main__":
    main()
