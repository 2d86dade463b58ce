"""One folder an inference engine, the same file names in each.

``base.py`` is the contract, over ``engine.py`` and ``buffer.py``; ``registry.py`` finds the
targets, ``device.py`` reads the files in ``devices/``. Importing this package loads no engine.
"""
