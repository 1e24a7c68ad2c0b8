"""What models may be called, and how a version is asked for. Light: the command line reads it at every start."""

import re

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names of models and of files in a version: never a path, never hidden."""
NAME_PATTERN = re.compile(NAME)
REF = f"{NAME}(:{NAME})?"
"""NAME or NAME:VERSION."""
REF_PATTERN = re.compile(REF)
