"""POST /api/explain, but for the answer itself: tests/e2e/test_review.py has one of a real model."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.construction import make_serving
from service.settings import Settings
from tests.world import in_process, make_app, png, served


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """The service on an engine that has no Keras weights."""
    async with in_process(make_app(tmp_path)) as client:
        yield client


async def test_a_model_without_keras_weights_says_so(client: httpx2.AsyncClient) -> None:
    """As an int8 one: there is nothing to look into, and a way out."""
    answer = await client.post("/api/explain", content=png(1))
    assert answer.status_code == 409
    assert "float32" in answer.json()["detail"]


async def test_the_page_offers_it_only_where_it_can_be_had(client: httpx2.AsyncClient) -> None:
    """No button that always fails."""
    assert "data-explains" not in (await client.get("/")).text


@pytest.mark.parametrize("prepared", [None, Path("int8")])
def test_int8_has_no_keras_weights(tmp_path: Path, prepared: Path | None) -> None:
    """What is prepared as it is cannot be built; everything else can."""
    serving = make_serving(replace(served(), prepared=prepared), Settings(data_dir=tmp_path))
    assert (serving.keras is None) == (prepared is not None)


@pytest.mark.parametrize(
    ("query", "sent", "status", "words"),
    [
        ("?label=unicorn", {"content": png(1)}, 422, "no class 'unicorn'. Among its 10 classes: class_0, class_1"),
        ("?label=clas5", {"content": png(1)}, 422, "classes: class_5"),
        ("?label=10", {"content": png(1)}, 422, "below 10"),
        ("?colour=red", {"content": png(1)}, 422, "colour"),
        ("", {"content": b""}, 400, "There is no picture"),
        ("", {"files": {"note": (None, "x")}}, 400, "There is no picture"),
        ("", {"files": [("a", ("a.png", png(1))), ("b", ("b.png", png(2)))]}, 413, "more than 1 picture"),
    ],
)
async def test_what_cannot_be_asked_is_refused_in_words(
    client: httpx2.AsyncClient, query: str, sent: dict[str, Any], status: int, words: str
) -> None:
    """Before any work is done."""
    answer = await client.post(f"/api/explain{query}", **sent)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True)
