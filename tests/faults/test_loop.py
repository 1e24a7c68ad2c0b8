"""T47: what takes long happens in threads, and the event loop goes on."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import argon2
import pytest

from service.bulk import archive
from service.inference import images
from service.inference.engines.engine import Pixels, Scores
from tests.bulk.workshop import zipped
from tests.fakes import GatedEngine
from tests.world import PASSWORD, in_process, make_app, png, signed_in, until


async def test_what_blocks_is_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding, computing, hashing passwords, unpacking archives, waiting for the disk: never in the loop's thread."""
    seen: dict[str, set[threading.Thread]] = defaultdict(set)

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            seen[name].add(threading.current_thread())
            return real(*arguments, **named)

        return noted

    class Engine(GatedEngine):
        def predict(self, pixels: Pixels) -> Scores:
            seen["compute"].add(threading.current_thread())
            return super().predict(pixels)

    app = make_app(tmp_path, Engine(), keep_images="all")
    async with in_process(app) as client:
        await signed_in(app)
        for name, owner, attribute in (
            ("decode", images, "decode"),
            ("verify", argon2.PasswordHasher, "verify"),
            ("unpack", archive.Archive, "read"),
            ("sync", os, "fsync"),
        ):
            monkeypatch.setattr(owner, attribute, noting(name, getattr(owner, attribute)))
        files = [("file", png(1)), ("file", png(2))]
        assert (await client.post("/predict", files=files)).status_code == 200
        form = {"username": "ada@example.org", "password": PASSWORD}
        assert (await client.post("/login", data=form)).status_code == 200
        job = (await client.post("/api/jobs", content=zipped([("3.png", png(3))]))).json()["id"]
        await until(lambda: app.house.bulk.progress(job) is None)
    assert seen.keys() == {"compute", "decode", "verify", "unpack", "sync"}
    assert threading.current_thread() not in set().union(*seen.values())
