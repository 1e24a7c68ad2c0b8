"""The pages of training, as an admin's browser without JavaScript sees them. Nothing is trained here."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import httpx2
import pytest

from service.http.access import SESSION_COOKIE
from service.http.training_form import APART, settings, wanted_of
from service.models.registry import Registry
from service.training import processes
from service.training.orders import Order
from service.training.report import Report
from service.training.runs import Runs
from service.training.trainings import Trainings
from tests.faults.archives import Part, pack
from tests.models.shelf import put
from tests.training import finished, pretended_trainer
from tests.training.pictures import a_run, png
from tests.training.reports import a_report
from tests.world import CLASSES, in_process, make_app, session

EVIL = "<img src=x onerror=alert(1)>"
PETS = pack(*(Part(f"{name}/{number}.png".encode(), png(number)) for name in ("cat", "dog<b>") for number in range(3)))


@pytest.fixture
async def boss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """An admin's browser."""
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    app = make_app(tmp_path)
    async with in_process(app) as client:
        client.headers |= {"origin": "http://localhost", "accept": "text/html"}
        client.cookies.set(SESSION_COOKIE, await session(app, "boss", role="admin"))
        yield client


def text(answer: httpx2.Response) -> str:
    """What a person reads."""
    assert answer.status_code == 200, answer.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


async def bring(boss: httpx2.AsyncClient) -> str:
    """The id of a dataset."""
    await boss.post("/training/datasets", files={"file": ("pets.zip", PETS)})
    (found,) = re.findall(r'<option value="(2[0-9a-f-]+)"', (await boss.get("/training")).text)
    return str(found)


def not_passed(report: Report) -> Report:
    """The same, whose candidate was not better."""
    assert report.gate is not None
    return report.model_copy(update={"gate": report.gate.model_copy(update={"passed": False})})


async def test_the_door_is_the_usual_one(tmp_path: Path) -> None:
    """Who is not signed in is sent to do that; who is no admin is told, and does not even see the way."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        client.headers |= {"accept": "text/html"}
        answer = await client.get("/training")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Ftraining")
        client.cookies.set(SESSION_COOKIE, await session(app, "bob"))
        assert (await client.get("/training")).status_code == 403
        assert 'href="/training"' not in (await client.get("/")).text


async def test_admins_find_the_way(boss: httpx2.AsyncClient) -> None:
    """From every page."""
    assert 'href="/training"' in (await boss.get("/")).text


async def test_nothing_is_inline(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The Content-Security-Policy would not let it be."""
    for run in (finished.done(tmp_path), finished.failed(tmp_path)):
        for path in ("/training", f"/training/{run.id}"):
            page = (await boss.get(path)).text
            assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page), path


async def test_a_dataset_comes_by_form_with_its_classes(boss: httpx2.AsyncClient) -> None:
    """And can be removed again; names are text."""
    sent = await boss.post("/training/datasets", files={"file": ("pets.zip", PETS)})
    assert (sent.status_code, sent.headers["location"]) == (303, "/training")
    page = await boss.get("/training")
    assert "6 pictures in 2 classes cat 3 dog<b> 3" in text(page)
    (address,) = re.findall(r'action="(/training/datasets/[^"]+/remove)"', page.text)
    gone = await boss.post(address)
    assert "The dataset is removed." in text(await boss.get(gone.headers["location"]))
    assert "Bring a zip first" in text(await boss.get("/training"))


async def test_one_that_is_none_is_said_on_the_page(boss: httpx2.AsyncClient) -> None:
    """A script gets the reason alone."""
    form = {"file": ("x.zip", b"no zip")}
    page = await boss.post("/training/datasets", files=form)
    assert (page.status_code, "A new run" in page.text) == (422, True)
    fragment = await boss.post("/training/datasets", files=form, headers={"hx-request": "true"})
    assert (fragment.status_code, "A new run" in fragment.text) == (422, False)


async def test_a_script_gets_the_datasets_row(boss: httpx2.AsyncClient) -> None:
    """With what its form needs to offer it."""
    form = {"file": ("pets.zip", PETS)}
    row = await boss.post("/training/datasets", files=form, headers={"hx-request": "true"})
    assert re.search(r'data-id="2[0-9a-f-]+" data-name="pets.zip"', row.text)
    assert "<html" not in row.text


def test_every_field_of_an_order_can_be_set() -> None:
    """But what the service fills in."""
    common, more = settings()
    assert {it.name for it in (*common, *more)} == set(Order.model_fields) - APART


def test_what_is_left_empty_is_as_usual() -> None:
    """It is not asked for at all, so that what is extended decides."""
    wanted = wanted_of({"name": "pets", "data": "feedback", "epochs": " ", "augment": "", "dropout": "0.1"})
    assert wanted.asked == {"name": "pets", "dropout": 0.1}


async def test_the_form_starts_a_run(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """And leads to its page."""
    form = {"name": "pets", "data": await bring(boss), "epochs": "7", "augment": "true", "dropout": ""}
    gone = await boss.post("/training", data=form)
    assert gone.status_code == 303, gone.text
    (run,) = Runs(tmp_path).all()
    assert gone.headers["location"] == f"/training/{run.id}"
    assert (run.order.epochs, run.order.augment, run.order.dropout) == (7, True, Order.model_fields["dropout"].default)


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"name": "no/name"}, 422, "set-name"),
        ({"epochs": "0"}, 422, "set-epochs"),
        ({"validation": "0.9"}, 422, "set-validation"),
        ({"data": ""}, 422, "set-data"),
        ({"augment": "perhaps"}, 422, "set-augment"),
    ],
)
async def test_what_is_wrong_stands_at_its_field(
    boss: httpx2.AsyncClient, change: dict[str, str], status: int, field: str
) -> None:
    """What was typed elsewhere is still there."""
    form = {"name": "pets", "data": "feedback", "patience": "9"} | change
    page = await boss.post("/training", data=form)
    assert page.status_code == status
    (wrong,) = re.findall(r"<(?:input|select)[^>]* aria-invalid[^>]*>", page.text)
    assert f'id="{field}"' in wrong
    assert 'role="alert"' in page.text
    assert re.search(r'name="patience" value="9"', page.text)


@pytest.mark.parametrize(
    ("change", "opened"),
    [({"name": "no/name"}, []), ({"epochs": "0"}, ["How it learns"]), ({"validation": "0.9"}, ["Everything else"])],
)
async def test_settings_are_folded_away_but_not_what_was_filled_in(
    boss: httpx2.AsyncClient, change: dict[str, str], opened: list[str]
) -> None:
    """Ten of them stood before the button. Without JavaScript too, a complaint is never in a closed fold."""
    folds = r'<details class="raw"( open)?>\s*<summary>([^<]+)'
    empty = re.findall(folds, (await boss.get("/training")).text)
    assert empty == [("", "How it learns"), ("", "Everything else")]
    page = (await boss.post("/training", data={"name": "pets", "data": "feedback"} | change)).text
    assert [name for is_open, name in re.findall(folds, page) if is_open] == opened


async def test_why_there_is_no_comparison_and_what_was_left_out(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The page said that there was no model to compare with, and not why; left-out labels stood in the log alone."""
    run = finished.done(tmp_path, a_report().model_copy(update={"gate": None, "no_gate": "No model was activated."}))
    (run.folder / "feedback.txt").write_text("9 pictures from feedback. Left out: 1 of new classes.")
    page = text(await boss.get(f"/training/{run.id}"))
    assert "There was no model to compare it with. No model was activated." in page
    assert "9 pictures from feedback. Left out: 1 of new classes." in page
    about = (await boss.get(f"/api/training/runs/{run.id}")).json()
    assert about["feedback"].startswith("9 pictures")


async def test_a_second_run_is_refused_on_the_page(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """With the first one's name."""
    form, run = {"name": "pets", "data": await bring(boss)}, a_run(tmp_path, "pets.zip")
    with finished.going_on(tmp_path, run):
        page = await boss.post("/training", data=form)
    assert (page.status_code, f"{run.id} is being trained" in page.text) == (409, True)


async def test_while_it_learns_the_page_shows_how_it_goes(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """In words, with the time left, its curves, some of its pictures, and a way to cancel."""
    run = a_run(tmp_path, "pets.zip")
    finished.gather(run)
    finished.learn(run, 3)
    with finished.going_on(tmp_path, run, step=3, steps=25, eta_s=31.0, words="New layers, epoch 4 of at most 20"):
        page = await boss.get(f"/training/{run.id}")
    shown = text(page)
    assert "Learning · New layers, epoch 4 of at most 20 · about 30 seconds left · part 2 of 4" in shown
    assert '<progress aria-label="Learning: pets" value="3" max="25">' in page.text
    assert 'id="chart-loss"' in page.text
    assert f'src="/api/training/runs/{run.id}/pictures/' in page.text
    assert f'action="/training/{run.id}/cancel"' in page.text


async def test_a_run_that_is_being_cancelled_says_so(
    boss: httpx2.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trainer may take ten seconds to end; until then it still said that it learns, with a button to cancel."""
    monkeypatch.setattr(Trainings, "is_ending", lambda room, run: True)
    run = a_run(tmp_path, "pets.zip")
    finished.learn(run, 3)
    with finished.going_on(tmp_path, run):
        row = await boss.get(f"/training/{run.id}/live")
    assert "Cancelling" in text(row)
    assert 'class="quiet" disabled' in row.text


async def test_the_live_part_tells_of_new_epochs_and_of_the_end(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """So curves are drawn anew once for each epoch, and the page once at the end."""
    run = a_run(tmp_path, "pets.zip")
    finished.learn(run, 3)
    live = f"/training/{run.id}/live?page=own&epochs="
    with finished.going_on(tmp_path, run):
        assert (await boss.get(f"{live}2")).headers["hx-trigger"] == "epochs"
        same = await boss.get(f"{live}3")
        assert "hx-trigger" not in same.headers
        assert f'hx-get="{live}3"'.replace("&", "&amp;") in same.text
    assert 'id="chart-accuracy"' in (await boss.get(f"/training/{run.id}/curves")).text
    assert (await boss.get(f"{live}3")).headers["hx-refresh"] == "true"  # its trainer has gone


async def test_the_verdict_comes_first(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """How often it was right and how sure that is, then the gate's own words."""
    shown = text(await boss.get(f"/training/{finished.done(tmp_path).id}"))
    gate = a_report().gate
    assert gate is not None
    places = [shown.index(words) for words in ("90.0 % right", "between 81.5 % and 94.8 %", gate.words[0], "Loss")]
    assert places == sorted(places)
    assert "95 % sure" in shown
    assert shown.count("resnet50:ba9876543210 served") == 2


async def test_everything_of_the_report_is_there(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Charts with their tables, pictures, sheets, what was left out, what was asked for."""
    run = finished.done(tmp_path)
    page = await boss.get(f"/training/{run.id}")
    charts = re.findall(r'id="chart-(\w+)"', page.text)
    assert charts == ["loss", "accuracy", "confusion", "classes", "reliability", "confidences", "distribution"]
    assert page.text.count('role="img"') == len(charts)
    for sheet in ("augmentation", "map-1", "map-2", "map-3"):
        assert f'src="/api/training/runs/{run.id}/sheets/{sheet}"' in page.text
    worst = a_report().test.worst[0]
    assert f'pictures/{worst.sample}" width="128" height="128" alt="{worst.name}"' in page.text
    for words in (
        "A temperature of",
        "Pictures left out: 1 is a copy.",
        "block_3 (8 by 8 by 24)",
        "Fine tune epochs 5",
    ):
        assert words in text(page), words
    labels = re.findall(r'aria-labelledby="([\w-]+)"', page.text)
    assert all(f'id="{label}"' in page.text for label in labels)


async def test_every_picture_has_words_and_every_field_a_label(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """For who does not see them."""
    run = finished.done(tmp_path)
    for path in ("/training", f"/training/{run.id}"):
        page = (await boss.get(path)).text
        assert not [tag for tag in re.findall(r"<img[^>]*>", page) if not re.search(r' alt="[^"]+"', tag)]
        for tag in re.findall(r"<(?:input|select)[^>]*>", page):
            if 'type="hidden"' not in tag:
                (name,) = re.findall(r' id="([^"]+)"', tag)
                assert f'for="{name}"' in page
        assert len(re.findall("<h1", page)) == 1


async def test_a_better_one_is_served_by_a_button(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """And then the page says that it is served."""
    version = put(Registry(tmp_path), classes=CLASSES)
    run = finished.done(tmp_path)
    finished.end(run, state="done", version=version.ref)
    page = (await boss.get(f"/training/{run.id}")).text
    (form,) = re.findall(r'<form method="post" action="/models/activate">(.*?)</form>', page, re.DOTALL)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]+)"', form))
    assert fields == {"ref": version.ref}
    assert (await boss.post("/models/activate", data=fields)).status_code == 303
    assert "It is served now." in text(await boss.get(f"/training/{run.id}"))


async def test_one_that_is_not_better_is_served_only_when_insisted(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The warning says so, and the form sends it."""
    version = put(Registry(tmp_path), classes=CLASSES, beats_served=False)
    run = finished.done(tmp_path, not_passed(a_report()))
    finished.end(run, state="done", version=version.ref)
    page = await boss.get(f"/training/{run.id}")
    assert "It was not better than resnet50:ba9876543210" in text(page)
    (form,) = re.findall(r'<form method="post" action="/models/activate">(.*?)</form>', page.text, re.DOTALL)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]+)"', form))
    assert fields == {"ref": version.ref, "override": "true"}
    assert (await boss.post("/models/activate", data=fields)).headers["location"] == "/models?done=activated"


async def test_a_cell_of_the_matrix_shows_its_pictures(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Every link in the chart and in its table leads to them; a script gets them alone."""
    run, matrix = finished.done(tmp_path), a_report().test.matrix
    page = (await boss.get(f"/training/{run.id}")).text
    links = {unescape(link) for link in re.findall(rf'href="(/training/{run.id}/cell[^"]+)"', page)}
    assert len(links) == len(matrix.cells)
    for link in links:
        cell = await boss.get(link)
        assert "taken for" in text(cell)
        assert re.search(rf'src="/api/training/runs/{run.id}/pictures/\d+"', cell.text)
    alone = await boss.get(links.pop(), headers={"hx-request": "true"})
    assert "<html" not in alone.text
    assert (await boss.get(f"/training/{run.id}/cell?truth=cat&label=fish")).status_code == 404


async def test_names_are_text(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """T39: classes and file names are whatever somebody packed into a zip."""
    classes = (EVIL, "bird", "cat", "dog&amp;")
    run = finished.done(tmp_path, a_report(classes))
    for path in ("", "/cell?truth=bird&label=bird"):
        assert EVIL not in (await boss.get(f"/training/{run.id}{path}")).text
    assert "&lt;img src=x" in (await boss.get(f"/training/{run.id}")).text


async def test_a_failed_run_says_why_and_can_go_on(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Its curves so far and the end of its log are there."""
    run = finished.failed(tmp_path)
    page = await boss.get(f"/training/{run.id}")
    assert "The disk is full. Free some room" in text(page)
    assert "ERROR No space left on device" in text(page)
    assert 'id="chart-loss"' in page.text
    gone = await boss.post(f"/training/{run.id}/resume")
    assert (gone.status_code, gone.headers["location"]) == (303, f"/training/{run.id}")


async def test_what_cannot_be_is_said_on_the_runs_page(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Resuming one that is done; removing one that a terminal trains."""
    done = finished.done(tmp_path)
    refused = await boss.post(f"/training/{done.id}/resume")
    assert (refused.status_code, "The verdict" in refused.text) == (409, True)
    other = a_run(tmp_path, "pets.zip")
    with finished.going_on(tmp_path, other):
        refused = await boss.post(f"/training/{other.id}/remove")
    assert (refused.status_code, "started from a terminal" in refused.text) == (409, True)


async def test_a_removed_run_is_gone(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """And the list says so."""
    run = finished.done(tmp_path)
    gone = await boss.post(f"/training/{run.id}/remove")
    assert "The run is removed." in text(await boss.get(gone.headers["location"]))
    assert (await boss.get(f"/training/{run.id}")).status_code == 404


async def test_a_report_that_cannot_be_read_is_no_500(boss: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The rest of the page is there."""
    run = finished.done(tmp_path)
    for name in ("report.json", "dataset.json", "maps.json"):
        (run.folder / name).write_text("{")
    assert "Its report cannot be read any more." in text(await boss.get(f"/training/{run.id}"))
