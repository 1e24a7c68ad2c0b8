"""The page without a browser: what it answers to forms, and to the JavaScript that asks for fragments."""

import hashlib
import io
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Route

from scripts.draw_examples import DRAWINGS
from service.errors import GlimtError
from service.http.feedback import FeedbackEndpoints
from service.http.middleware import RequestLog
from service.http.pages import EXAMPLES, MAX_PICTURES, Pages
from service.http.presentation import make_templates
from service.http.problems import Problems
from service.inference.classifier import Classifier
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo
from service.inference.serving import Serving
from service.inference.worker import Worker
from service.settings import KeepImages, Settings
from service.store.feedback import FeedbackRow, FeedbackStore
from service.store.pictures import PictureStore
from tests.fakes import GatedEngine
from tests.world import belongings, make_database

WEB = Path(__file__).parents[2] / "web"
LABELS = ("tabby", "golden_retriever", "flat-coated_retriever", "owl", "kite", "eel", "ant", "bee", "fly", "crab")
CLASSES = ClassTable(LABELS, (None,) * 10, LABELS)
FRAGMENT = {"HX-Request": "true"}
EVIL = "<img src=x onerror=alert(1)>.png"


@dataclass(frozen=True)
class World:
    """A page with a real classifier on a fake engine, a real database, and a client."""

    client: httpx2.AsyncClient
    classifier: Classifier
    feedback: FeedbackStore
    pictures: PictureStore

    async def post(
        self, path: str, fields: dict[str, str], *, picture: bytes | None = None, fragment: bool = True
    ) -> httpx2.Response:
        """A multipart form, as JavaScript sends it or as a browser without it does."""
        parts: list[tuple[str, tuple[str | None, str | bytes]]] = [(name, (None, v)) for name, v in fields.items()]
        if picture is not None:
            parts.append(("file", ("cat.png", picture)))
        return await self.client.post(path, files=parts, headers=FRAGMENT if fragment else {})

    async def rows(self) -> tuple[FeedbackRow, ...]:
        """What is in the store."""
        return await self.feedback.list(None)


async def make_world(
    stack: AsyncExitStack, folder: Path, *, keep_images: KeepImages = "feedback", notice: str | None = None
) -> World:
    settings = Settings(data_dir=folder, keep_images=keep_images, max_image_bytes=100_000)
    database = await stack.enter_async_context(make_database(folder))
    pictures = await stack.enter_async_context(PictureStore(folder / "pictures"))
    model = ModelInfo("toy", "7", "gated", "random")
    serving = Serving(GatedEngine, model, CLASSES, InputSpec(8, "unit"), notice=notice)
    worker = await stack.enter_async_context(Worker(serving, max_batch=1))
    await worker.loaded()
    classifier = await stack.enter_async_context(Classifier(worker, settings))
    feedback, templates = FeedbackStore(database), make_templates(WEB)
    notes = FeedbackEndpoints(feedback, pictures, belongings(database, pictures, keep_images))
    pages = Pages(classifier, feedback, notes, pictures, templates, settings, WEB)
    routes = [
        Route("/", pages.index, methods=["GET"]),
        Route("/", pages.classify, methods=["POST"]),
        Route("/labels", pages.labels),
        Route("/health-light", pages.health_light),
        Route("/cards/feedback", pages.feedback, methods=["POST"]),
        Route("/cards/feedback/{id:int}/undo", pages.undo, methods=["POST"]),
    ]
    app = RequestLog(Starlette(routes=routes, exception_handlers={GlimtError: Problems(templates).on_glimt_error}))
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://glimt")
    return World(await stack.enter_async_context(client), classifier, feedback, pictures)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def world(stack: AsyncExitStack, tmp_path: Path) -> World:
    return await make_world(stack, tmp_path)


def png(colour: str = "red") -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), colour).save(buffer, "PNG")
    return buffer.getvalue()


def said_about(data: bytes, **fields: str) -> dict[str, str]:
    """The fields of a feedback form for this picture."""
    sha256 = hashlib.sha256(data).hexdigest()
    return {
        "predicted_class": "tabby",
        "score": "0.5",
        "image_sha256": sha256,
        "image_file_name": "cat.png",
        "model_name": "toy",
        "model_version": "7",
        "idempotency_key": "k1",
    } | fields


async def test_index_greets_without_cards(world: World) -> None:
    """GET / is a page with a form that works without JavaScript, and no card."""
    page = await world.client.get("/")
    assert page.status_code == 200
    assert '<form id="tray"' in page.text
    assert 'enctype="multipart/form-data"' in page.text
    assert '<article class="card" aria-label' not in page.text


async def test_nothing_inline(world: World) -> None:
    """The page obeys its policy: no inline script, no style attribute, no event attribute."""
    page = await world.client.post("/", files={"file": ("a.png", png())})
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)


async def test_notice_shows_its_command_as_code(stack: AsyncExitStack, tmp_path: Path) -> None:
    """The banner is there when there is a notice; a command is code, the rest is escaped."""
    notice = "Only <digits>. Run scripts/serve --model resnet50 --weights FILE; or glimt serve --model b_0."
    page = (await (await make_world(stack, tmp_path, notice=notice)).client.get("/")).text
    assert (
        "Only &lt;digits&gt;. Run <code>scripts/serve --model resnet50 --weights FILE</code>; "
        "or <code>glimt serve --model b_0</code>."
    ) in page


async def test_a_zip_is_shown_the_way_to_bulk(world: World) -> None:
    """It was called an unreadable picture, and nothing said where zips go."""
    page = await world.client.post("/", files={"file": ("pets.zip", b"PK\3\4" + bytes(100))})
    assert page.status_code == 415
    assert "This is a zip archive" in page.text
    assert '<a href="/jobs">Bring it to Bulk</a>' in page.text
    text = (await world.client.post("/", files={"file": ("a.txt", b"words")})).text
    assert "Bring it" not in text


async def test_no_notice_no_banner(world: World) -> None:
    """Without a notice the page has no banner."""
    assert 'class="notice"' not in (await world.client.get("/")).text


async def test_fragment_for_one_picture(world: World) -> None:
    """A picture posted by JavaScript comes back as one readout: five bars, the model, the receipt, raw JSON."""
    answer = await world.client.post("/", files={"file": ("a.png", png())}, headers=FRAGMENT)
    assert answer.status_code == 200
    assert answer.text.count('<li class="reading"') == 5
    assert "toy 7" in answer.text
    assert re.search(r"decoded .* ms · waited .* ms · batch of 1 in .* ms", answer.text)
    assert "&#34;success&#34;: true" in answer.text
    assert "<html" not in answer.text


async def test_fragment_for_a_bad_picture(world: World) -> None:
    """What is no picture is answered with its own status and a fragment that says why."""
    answer = await world.client.post("/", files={"file": ("a.jpg", b"<html>hello")}, headers=FRAGMENT)
    assert answer.status_code == 415
    assert "image_type_unsupported" in answer.text
    assert answer.headers["x-request-id"] in answer.text


async def test_form_gives_a_page_with_the_picture(world: World) -> None:
    """Without JavaScript the answer is the whole page, the picture embedded."""
    page = await world.client.post("/", files={"file": ("a.png", png())})
    assert page.status_code == 200
    assert "data:image/png;base64," in page.text
    assert "12 \N{MULTIPLICATION SIGN} 9 · PNG" in page.text


async def test_form_with_one_bad_picture_shows_both(world: World) -> None:
    """Without JavaScript a bad picture has its reason in its card and does not harm the good one."""
    files = [("file", ("good.png", png())), ("file", ("bad.png", b"nothing"))]
    page = await world.client.post("/", files=files)
    assert page.status_code == 200
    assert page.text.count('<article class="card" aria-label') == 2
    assert page.text.count('class="problem"') == 2  # one in its card, one in the template for JavaScript


async def test_form_without_picture(world: World) -> None:
    """An empty form is answered by the page, with the reason on it."""
    page = await world.post("/", {"other": "x"}, fragment=False)
    assert page.status_code == 400
    assert "Choose one first" in page.text


async def test_too_many_pictures(world: World) -> None:
    """A tenth picture is refused with the limit named."""
    page = await world.client.post("/", files=[("file", ("a.png", png()))] * (MAX_PICTURES + 1))
    assert page.status_code == 413
    assert "more than 9 pictures" in page.text


async def test_too_large_a_picture(world: World) -> None:
    """A picture over the byte limit is refused with the limit named."""
    answer = await world.client.post("/", files={"file": ("a.png", b"x" * 100_001)}, headers=FRAGMENT)
    assert answer.status_code == 413
    assert "100,000 bytes" in answer.text


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example_by_name(world: World, name: str) -> None:
    """Every example is there, below 30 kB, and can be classified without JavaScript."""
    assert (WEB / f"static/examples/{name}.png").stat().st_size <= 30_000
    page = await world.post("/", {"example": name}, fragment=False)
    assert page.status_code == 200
    assert f"{name}.png" in page.text


def test_examples_are_our_own() -> None:
    """What the page offers is what our script draws, and nothing else lies in the folder."""
    assert set(EXAMPLES) == set(DRAWINGS) == {path.stem for path in (WEB / "static/examples").iterdir()}


async def test_example_is_no_path(world: World) -> None:
    """Only our own examples can be named, not files."""
    page = await world.post("/", {"example": "../../../../etc/passwd"}, fragment=False)
    assert page.status_code == 400


async def test_file_name_is_text(world: World) -> None:
    """A file name with markup is shown, not run."""
    page = await world.client.post("/", files={"file": (EVIL, png())})
    assert "<img src=x" not in page.text
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page.text


async def test_labels_by_the_letters_typed(world: World) -> None:
    """The typeahead offers the labels that match, as options."""
    answer = await world.client.get("/labels", params={"q": "retr"})
    assert re.findall(r'data-value="([^"]+)"', answer.text) == ["golden_retriever", "flat-coated_retriever"]


async def test_labels_escape_the_query(world: World) -> None:
    """No match says so and never repeats what was typed as markup."""
    answer = await world.client.get("/labels", params={"q": "<b>" * 1000})
    assert "No label matches" in answer.text
    assert "<b>" not in answer.text


async def test_right_is_stored_with_the_picture(world: World) -> None:
    """`Right` with the picture sent along: the row is there, the picture is kept, the fragment thanks."""
    data = png()
    answer = await world.post("/cards/feedback", said_about(data, verdict="right"), picture=data)
    assert "Noted as right" in answer.text
    (row,) = await world.rows()
    assert (row.verdict, row.score, row.model_version, row.image_kept) == ("right", 0.5, "7", True)
    assert await world.pictures.has(hashlib.sha256(data).hexdigest())


async def test_pictures_are_not_kept_when_set_so(stack: AsyncExitStack, tmp_path: Path) -> None:
    """With GLIMT_KEEP_IMAGES=none the row is stored and the picture is not."""
    world, data = await make_world(stack, tmp_path, keep_images="none"), png()
    await world.post("/cards/feedback", said_about(data, verdict="right"), picture=data)
    (row,) = await world.rows()
    assert not row.image_kept
    assert not await world.pictures.has(hashlib.sha256(data).hexdigest())


async def test_another_picture_is_refused(world: World) -> None:
    """A picture whose hash is not the one the feedback names is not kept, and nothing is stored."""
    answer = await world.post("/cards/feedback", said_about(png("red"), verdict="right"), picture=png("blue"))
    assert answer.status_code == 422
    assert await world.rows() == ()


@pytest.mark.parametrize(
    ("typed", "stored"), [("Golden retriever", "golden_retriever"), ("quokka", "quokka"), ("  ", None)]
)
async def test_correct_label(world: World, typed: str, stored: str | None) -> None:
    """A label as a person writes it becomes the model's; a word the model lacks, and no word, are taken too."""
    await world.post("/cards/feedback", said_about(png(), verdict="wrong", correct_label=typed, comment=" fluffy "))
    (row,) = await world.rows()
    assert (row.verdict, row.correct_label, row.comment) == ("wrong", stored, "fluffy")


async def test_sent_twice_is_stored_once(world: World) -> None:
    """A double click carries the same key and makes one row."""
    for _ in range(2):
        answer = await world.post("/cards/feedback", said_about(png(), verdict="right"))
        assert "Undo" in answer.text
    assert len(await world.rows()) == 1


@pytest.mark.parametrize(
    "wrong", [{"verdict": "maybe"}, {"verdict": ""}, {"score": "2"}, {"score": "nan"}, {"score": "x"},
              {"predicted_class": ""}, {"image_sha256": "zz"}, {"verdict": "wrong", "comment": "x" * 2001}]
)  # fmt: skip
async def test_senseless_feedback(world: World, wrong: dict[str, str]) -> None:
    """A field that says nothing sensible is a 422 with a reason, and nothing is stored."""
    answer = await world.post("/cards/feedback", said_about(png(), verdict="right") | wrong)
    assert answer.status_code == 422
    assert "invalid_field" in answer.text
    assert await world.rows() == ()


async def test_an_error_in_a_browser_is_a_page(world: World) -> None:
    """A browser without JavaScript gets the reason as a page, not as JSON."""
    form = {name: (None, value) for name, value in said_about(png(), verdict="maybe").items()}
    page = await world.client.post("/cards/feedback", files=form, headers={"Accept": "text/html"})
    assert page.status_code == 422
    assert "<html" in page.text
    assert "invalid_field" in page.text


@pytest.mark.parametrize(("keep_images", "words"), [("feedback", "only when you give feedback"), ("none", "not kept")])
async def test_says_what_is_kept(stack: AsyncExitStack, tmp_path: Path, keep_images: KeepImages, words: str) -> None:
    """The page says beforehand what happens to a picture."""
    world = await make_world(stack, tmp_path, keep_images=keep_images)
    assert words in (await world.client.get("/")).text


async def test_undo(world: World) -> None:
    """Undo removes the row and brings the buttons back with a new key; a second undo changes nothing."""
    form = said_about(png(), verdict="right")
    await world.post("/cards/feedback", form)
    (row,) = await world.rows()
    for _ in range(2):
        answer = await world.post(f"/cards/feedback/{row.id}/undo", form)
        assert "Is that right?" in answer.text
        assert 'value="k1"' not in answer.text
        assert 'name="predicted_class" value="tabby"' in answer.text
    assert await world.rows() == ()


async def test_undo_of_an_impossible_id(world: World) -> None:
    """An id beyond any integer of the database is nothing to undo, not a fault."""
    answer = await world.post("/cards/feedback/99999999999999999999999/undo", said_about(png()))
    assert answer.status_code == 200


async def test_feedback_without_javascript(world: World) -> None:
    """Without JavaScript feedback and undo are answered by whole pages."""
    form = said_about(png(), verdict="wrong", correct_label="owl")
    page = (await world.post("/cards/feedback", form, fragment=False)).text
    assert "<html" in page
    assert "Noted: owl." in page
    (row,) = await world.rows()
    assert "<html" in (await world.post(f"/cards/feedback/{row.id}/undo", form, fragment=False)).text


async def test_health_light_when_ready(world: World) -> None:
    """The light is green and names the model."""
    answer = (await world.client.get("/health-light")).text
    assert 'data-state="ready"' in answer
    assert "toy 7" in answer


async def test_health_light_when_draining(world: World) -> None:
    """Shutting down is said, and a picture is refused with a 503 that a retry can follow."""
    world.classifier.drain()
    assert "Shutting down" in (await world.client.get("/health-light")).text
    answer = await world.client.post("/", files={"file": ("a.png", png())}, headers=FRAGMENT)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_vendored_files_are_what_they_say() -> None:
    """Each vendored file has the SHA-256 its README states, and no file is unaccounted for."""
    folder = WEB / "static/vendor"
    stated = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.M))
    assert {path.name for path in folder.iterdir() if path.suffix in (".js", ".css")} == set(stated)
    templates = "".join(path.read_text() for path in (WEB / "templates").glob("*.html"))
    for name, sha256 in stated.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        assert name in templates


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb as WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = (int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [("ink", "ground"), ("ink", "plate"), ("ink-soft", "ground"), ("ink-soft", "plate"), ("ink-soft", "bad-wash"),
     ("lamp-ink", "plate"), ("lamp-ink", "ground"), ("bad", "bad-wash"), ("on-solid", "solid"),
     ("bad", "plate"), ("ink", "bad-wash"), ("ink", "mat"), ("on-solid", "bad")],
)  # fmt: skip
def test_contrast(scheme: str, ink: str, paper: str) -> None:
    """Every pair of text and ground that occurs has a contrast of at least 4.5, in both schemes."""
    roots = re.findall(r":root \{(.*?)\}", (WEB / "static/app.css").read_text(), re.S)
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", roots[0] + (roots[1] if scheme == "dark" else "")))
    bright, dim = sorted((luminance(tokens[ink]), luminance(tokens[paper])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5
