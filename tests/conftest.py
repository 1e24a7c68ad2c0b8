"""What tests of every room share."""

import signal
from pathlib import Path

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background is deaf to it


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of prepared models: to prepare one starts Keras, which takes longer than most tests."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def prepared_models(tmp_path: Path, prepared: Path) -> None:
    """The data folder `tmp_path` has the models which earlier tests had prepared, and shares its own."""
    (tmp_path / "cache").symlink_to(prepared)
