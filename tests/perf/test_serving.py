"""perf/serving.py: the command line that is several tools' own, and the service it means."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from perf import auth_cost, bulk, serving


@pytest.mark.parametrize("tool", [auth_cost, bulk], ids=["auth_cost", "bulk"])
def test_a_tool_serves_what_its_command_line_says(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model by its name, from its folder, with the further options; measured where the service answers."""
    served: list[object] = []

    @contextmanager
    def service(arguments: list[str], data: Path) -> Iterator[tuple[int, int]]:
        served.extend((arguments, data))
        yield 17, 8017

    monkeypatch.setattr(serving, "service", service)
    monkeypatch.setattr(tool, "measure", lambda options, supply, *where: served.append(where[-2:]))
    told = ["--model", "pets", "--data-dir", str(tmp_path), "--", "--history-days", "0"]
    monkeypatch.setattr(sys, "argv", ["a tool", *(["--pictures", "2"] if tool is bulk else []), *told])
    tool.main()
    arguments, data, where = served
    expected = ["--model", "pets", "--cache-entries", "0", "--log-level", "warning", "--history-days", "0"]
    assert (arguments, data) == (expected, tmp_path)
    assert where == ((8017, 17) if tool is bulk else (8017,))


def test_only_resnet50_has_random_weights() -> None:
    """A version of the registry has its own."""
    assert serving.model_settings("resnet50") == {"model": "resnet50", "weights": "random"}
    assert serving.model_settings("pets") == {"model": "pets"}
