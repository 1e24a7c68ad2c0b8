"""Glimt: image classification for many clients at once, from one process."""

__version__ = "0.1.0"
