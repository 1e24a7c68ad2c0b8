"""SECURITY.md says of each fault which test proves what is promised."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| T(\d+) \|.*\|(.*)\|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)


def test_every_row_has_a_proof() -> None:
    """The rows are T1 to T48 in order, and each names a test."""
    assert [int(number) for number, _ in ROWS] == [*range(1, 49)]
    assert all(re.search(r"`tests/\S+::test_\w+`", proof) for _, proof in ROWS)


def test_every_proof_exists() -> None:
    """What is named there is a function of that file."""
    for path, name in re.findall(r"`(\S+?)::(\w+)`", " ".join(proof for _, proof in ROWS)):
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, f"{path}::{name}"
