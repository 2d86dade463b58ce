"""The version of edgeexit, in the one place from which the build and the bundles read it."""

__version__ = "0.1.0"
