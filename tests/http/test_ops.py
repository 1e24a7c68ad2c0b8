"""The live panel without a browser: the page, the fragment, the form."""

import asyncio
import logging
import re
from pathlib import Path

import httpx2
import pytest
import structlog
from structlog.testing import LogCapture

from service.app import Glimt
from service.http import middleware
from service.inference.batches import CurvePoint
from tests.fakes import GatedEngine
from tests.http.test_batching import as_admin
from tests.world import make_app, png, until

FRAGMENT = {"HX-Request": "true"}


@pytest.fixture
def app(tmp_path: Path) -> Glimt:
    return make_app(tmp_path, max_batch=16, max_wait_ms=5)


async def send(client: httpx2.AsyncClient, fields: dict[str, str], *, fragment: bool) -> httpx2.Response:
    """The form, as JavaScript or a browser without it sends it."""
    parts = [(name, (None, value)) for name, value in fields.items()]
    return await client.post("/ops/batching", files=parts, headers=FRAGMENT if fragment else {"Accept": "text/html"})


def field(page: str, name: str) -> str:
    """The value in a number field."""
    match = re.search(rf'name="{name}".*?value="([^"]*)"', page, re.S)
    assert match is not None
    return match[1]


async def test_the_page(app: Glimt) -> None:
    """One page with everything: the figures, the controls as they stand, and what htmx shall ask each second."""
    async with as_admin(app) as client:
        page = await client.get("/ops")
    assert page.status_code == 200
    assert 'hx-get="/ops/live" hx-trigger="every 1s, refresh"' in page.text
    assert (field(page.text, "max_batch"), field(page.text, "max_wait_ms")) == ("16", "5")
    assert "At most 16 pictures in a batch, window 5&nbsp;ms." in page.text
    for title in ("Queue", "Time for one picture", "Batches by size", "They left because", "Pictures"):
        assert f">{title}" in page.text
    assert "What a batch takes" not in page.text


async def test_nothing_inline(app: Glimt) -> None:
    """The panel obeys the policy: no inline script, no style attribute, no event attribute."""
    async with as_admin(app) as client:
        app.house.classifier.curve = (CurvePoint(1, 10.0), CurvePoint(2, 12.0))
        await client.post("/predict", content=png(1))
        page = (await client.get("/ops")).text
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


async def test_every_control_and_section_has_a_name(app: Glimt) -> None:
    """Each input has a label, each aria-labelledby its heading, and no id is there twice."""
    async with as_admin(app) as client:
        app.house.classifier.curve = (CurvePoint(1, 10.0), CurvePoint(2, 12.0))
        page = (await client.get("/ops")).text
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"|<label for="([^"]+)"', page)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }
    inputs = re.findall(r"<input[^>]*>", page)
    assert inputs
    for tag in inputs:
        identity = re.search(r'\sid="([^"]+)"', tag)
        assert "aria-label=" in tag or (identity and f'<label for="{identity[1]}"' in page)


async def test_the_polled_part_is_not_announced(app: Glimt) -> None:
    """Only the answer to a change is a live region: nobody wants figures read out each second."""
    async with as_admin(app) as client:
        page, fragment = (await client.get("/ops")).text, (await client.get("/ops/live")).text
    assert not re.findall(r'aria-live|role="(?:status|alert|log)"', fragment)
    assert "At most 16 pictures in a batch" in fragment
    assert page.count("At most 16 pictures in a batch") == 1
    assert "aria-live" not in page
    assert not re.findall(r"<(?:a|button|input|details|summary)\b|tabindex", fragment)  # focus would be lost
    assert re.findall(r'<div id="([^"]+)"[^>]*role="status"', page) == ["batching-said"]


async def test_the_fragment_tells_what_happened(tmp_path: Path) -> None:
    """Queue, engine, batches, answers, cache and ends are those of the service."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=4, max_pending=10)
    async with as_admin(app) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(client.post("/predict", content=png(0)))
        await until(lambda: app.house.classifier.stats().running == 1)
        for n in range(1, 4):
            tasks.create_task(client.post("/predict", content=png(n)))
        await until(lambda: app.house.classifier.stats().pending == 3)
        full = (await client.get("/ops/live")).text
        engine.gate.set()
        await until(lambda: app.house.classifier.stats().totals.get("completed") == 4)
        await client.post("/predict", content=png(0))
        after = (await client.get("/ops/live")).text
    assert "3 of 10" in full
    assert "1 of 4" in full
    assert "3 waiting" in full
    assert '<rect x="0.0%" width="30.0%" height="100%"/>' in full
    assert "0 of 10" in after
    assert 'aria-label="1: 1, 3: 1"' in after
    assert "2 batches, 2.0 pictures on average." in after
    assert "Of 4 computed" in after
    assert "<dt>completed</dt><dd>4</dd>" in after
    assert "<dt>from the cache</dt><dd>20<small> %</small></dd>" in after
    assert "fake 1 · none weights · gated" in after


async def test_overload_and_drain_are_said(app: Glimt) -> None:
    """The panel says when the newest go first, and when the service shuts down."""
    async with as_admin(app) as client:
        app.house.classifier._batcher._lanes.overload.standing = True
        overloaded = (await client.get("/ops/live")).text
        app.house.classifier.drain()
        draining = (await client.get("/ops/live")).text
    assert "the newest go first" in overloaded
    assert 'data-state="draining"' in draining


async def test_the_curve(app: Glimt) -> None:
    """A chart with the same figures in a table."""
    async with as_admin(app) as client:
        app.house.classifier.curve = (CurvePoint(1, 38.125), CurvePoint(8, 250.0))
        page = (await client.get("/ops")).text
    assert "<polyline" in page
    assert "<td>8</td><td>250.0</td><td>32.0</td>" in page


async def test_a_change_by_htmx(app: Glimt) -> None:
    """The answer is a fragment with the new values, and they are in force."""
    async with as_admin(app) as client:
        answer = await send(client, {"max_batch": "8", "max_wait_ms": "2.5"}, fragment=True)
        document = (await client.get("/api/batching")).json()
    assert answer.text.strip() == "Done. At most 8 pictures in a batch, window 2.5&nbsp;ms."
    assert (document["max_batch"], document["max_wait_ms"], document["max_pending"]) == (8, 2.5, 256)


async def test_a_change_without_javascript(app: Glimt) -> None:
    """The button answers with the whole page, which has the new values."""
    async with as_admin(app) as client:
        page = (await send(client, {"max_batch": "1", "max_wait_ms": "0"}, fragment=False)).text
    assert "<html" in page
    assert (field(page, "max_batch"), field(page, "max_wait_ms")) == ("1", "0")
    assert "At most 1 picture in a batch" in page


async def test_back_to_automatic(tmp_path: Path) -> None:
    """A button while somebody's choice is in force; it puts the calibration's back."""
    app = make_app(tmp_path, max_batch="auto")
    async with as_admin(app) as client:
        await send(client, {"max_batch": "9"}, fragment=True)
        classifier, worker = app.house.classifier, app.house.worker
        worker.curve = classifier.curve = (CurvePoint(1, 10), CurvePoint(2, 12), CurvePoint(4, 48))
        before = (await client.get("/ops")).text
        answer = await send(client, {"auto": "true"}, fragment=True)
        after = (await client.get("/ops")).text
    assert "Done. At most 2 pictures" in answer.text
    assert "as measured at warm-up." in answer.text
    assert [bool(re.search(r'<form id="automatic"[^>]* hidden>', page)) for page in (before, after)] == [False, True]


async def test_no_way_back_without_a_calibration(app: Glimt) -> None:
    """Nothing was measured: no button, and any other word than true is refused."""
    async with as_admin(app) as client:
        assert "Back to automatic" not in (await client.get("/ops")).text
        assert (await send(client, {"auto": "true"}, fragment=True)).status_code == 409
        assert (await send(client, {"auto": "false"}, fragment=True)).status_code == 422


@pytest.mark.parametrize("fragment", [True, False])
@pytest.mark.parametrize("fields", [{"max_batch": "257"}, {"max_batch": ""}, {"max_wait_ms": "nan"}, {"x": "1"}])
async def test_a_senseless_change(app: Glimt, fields: dict[str, str], fragment: bool) -> None:
    """Words in the page's own looks, a 422, and nothing changes."""
    async with as_admin(app) as client:
        answer = await send(client, fields, fragment=fragment)
        assert (await client.get("/api/batching")).json()["max_batch"] == 16
    assert answer.status_code == 422
    assert 'class="problem"' in answer.text
    assert "from 1 to 256" in answer.text
    assert ("<html" in answer.text) is not fragment


async def test_read_only_for_others(app: Glimt) -> None:
    """Who may not change it sees the values, no controls, and how it is done; the form is refused."""
    async with as_admin(app) as client:
        del client.headers["Authorization"]
        page = (await client.get("/ops")).text
        refused = await send(client, {"max_batch": "8"}, fragment=True)
    assert "At most 16 pictures in a batch" in page
    assert "glimt tune" in page
    assert 'action="/ops/batching"' not in page
    assert refused.status_code == 401


async def test_every_page_leads_to_the_panel(app: Glimt) -> None:
    """A link in the masthead, marked where one is."""
    async with as_admin(app) as client:
        assert '<a href="/ops">' in (await client.get("/")).text
        assert '<a href="/ops" aria-current="page">' in (await client.get("/ops")).text


async def test_the_poll_does_not_fill_the_log(app: Glimt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked each second by each open panel: debug, as the probes are; the page itself is told as any other."""
    capture = LogCapture()
    monkeypatch.setattr(middleware, "log", structlog.wrap_logger(logging.getLogger("x"), [capture]))
    async with as_admin(app) as client:
        await client.get("/ops/live")
        await client.get("/ops")
    assert [(line["path"], line["log_level"]) for line in capture.entries] == [("/ops/live", "debug"), ("/ops", "info")]
