"""``edgeexit verify``: integrity, and parity of the stages with the whole model."""

from __future__ import annotations
