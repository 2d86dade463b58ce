"""``calibrate_exits``: from a bundle and a data set to its ``exits.json``."""

from __future__ import annotations
