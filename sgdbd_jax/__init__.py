"""Defocus blur detection learned without a single pixel label, in JAX."""

__version__ = "0.1.0"
