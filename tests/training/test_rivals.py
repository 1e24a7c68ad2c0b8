"""Which model a candidate is compared with, or why there is none."""

from pathlib import Path

import pytest

from service.models.registry import Registry
from service.models.served import ServedModel
from service.settings import Settings
from service.training.orders import Order
from service.training.rivals import rival

ORDER = Order(name="pets", source="pets.zip")


def test_why_there_is_nothing_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`There was no model to compare it with`, people read, and could not know what to do about it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert rival(ORDER, Settings(data_dir=tmp_path)) == (
        "No model was activated, and the weights of resnet50, which the settings name, are not here."
    )
    Registry(tmp_path).point("gone:1", None)
    found = rival(ORDER, Settings(data_dir=tmp_path))
    assert isinstance(found, str)
    assert found.startswith("The model that is served cannot be had. gone:1, which was activated,")
    assert isinstance(rival(ORDER, Settings(data_dir=tmp_path, model="demo")), ServedModel)
