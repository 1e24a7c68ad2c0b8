"""Which engine computes when nobody said."""

import pytest

from service.inference.engines import choice


@pytest.mark.parametrize(
    ("asked", "gpu", "openvino", "chosen"),
    [
        ("auto", False, True, "openvino"),
        ("auto", True, True, "tensorflow"),
        ("auto", False, False, "tensorflow"),
        ("openvino", True, True, "openvino"),
        ("tensorflow", False, True, "tensorflow"),
    ],
)
def test_the_engine(monkeypatch: pytest.MonkeyPatch, asked: str, gpu: bool, openvino: bool, chosen: str) -> None:
    """What was asked for; else TensorFlow for a GPU it sees, OpenVINO for a processor."""
    monkeypatch.setattr(choice, "sees_gpu", lambda: gpu)
    monkeypatch.setattr(choice, "_installed", lambda package: openvino)
    assert choice.runtime(asked) == chosen
