"""`glimt train` and `glimt evaluate` as a person types them."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.cli_train import to_serve
from service.data_folder import claimed
from service.settings import Settings
from service.store.feedback import FeedbackDraft, FeedbackStore
from service.store.pictures import PictureStore
from service.training import processes
from service.training.dataset import gather
from service.training.orders import Order
from service.training.runs import Run, Runs
from tests.training import pretended_trainer
from tests.training.pictures import LIMITS, a_run, png, two_classes
from tests.training.reports import a_report
from tests.world import make_database

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, named by the environment. The trainer is played, and fails."""
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GLIMT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


def glimt(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def finished(data: Path, source: Path, **changes: object) -> Run:
    """A run whose pictures are gathered, and that is said to be done."""
    run = a_run(data, source, **changes)
    gather(run.order, run, LIMITS, say=lambda done, total: None)
    run.write(run.status().model_copy(update={"state": "done"}))
    return run


def only_new(data: Path, *known: Run) -> Run:
    (run,) = (run for run in Runs(data).all() if run.id not in {one.id for one in known})
    return run


def kept(data: Path, *sayings: tuple[int, str, str | None]) -> None:
    """Feedback about pictures of these numbers: the verdict on "cat", and the right label."""

    async def keep() -> None:
        async with make_database(data) as database, PictureStore(data / "pictures") as pictures:
            for number, verdict, correct in sayings:
                draft = FeedbackDraft(
                    predicted_class="cat", score=0.5, image_file_name="x.png", verdict=verdict,  # type: ignore[arg-type]
                    correct_label=correct, image_sha256=await pictures.keep(png(number)), image_kept=True,
                )  # fmt: skip
                await FeedbackStore(database).add(draft, owner=None, idempotency_key=None)

    asyncio.run(keep())


def test_every_field_of_an_order_is_an_option() -> None:
    """With its words and its default; the backbone is called the model, as everywhere else."""
    words = " ".join(glimt("train", "--help").stdout.split())
    for name, field in Order.model_fields.items():
        if name not in ("source", "origin"):
            assert f"--{name.replace('backbone', 'model').replace('_', '-')} " in words
            assert field.description is not None
            assert field.description in words
    assert "--no-augment" in words
    assert "Default: mobilenet_v2." in words
    assert "None" not in words


def test_what_was_asked_is_what_is_ordered(tmp_path: Path, data: Path) -> None:
    """Also the path, absolute; and a failed run ends with its words and exit code 1."""
    source = two_classes(tmp_path / "my pets", each=1)
    result = glimt(
        "train", source, "--model", "cnn", "--epochs", "3", "--no-augment", "--size", "48", "--name", "fails"
    )
    order = only_new(data).order
    assert order == Order(name="fails", source=str(source), backbone="cnn", epochs=3, augment=False, size=48)
    assert result.exit_code == 1
    assert "The training failed. Too few pictures." in result.stderr


def test_a_model_is_called_like_its_data(tmp_path: Path, data: Path) -> None:
    """As far as a name may have those letters."""
    glimt("train", two_classes(tmp_path / "my pets!", each=1))
    assert only_new(data).order.name == "my_pets"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "One of: DATA, --from-feedback, --resume RUN."),
        (["DATA", "--from-feedback"], "One of: DATA"),
        (["DATA", "--since", "2026-01-01"], "--since goes with --from-feedback."),
        (["--resume", "20260101-000000-abcdef", "--epochs", "3"], "give it no others"),
        (["nowhere"], "'nowhere' does not exist"),
        (["DATA", "--model", "vgg"], "--model: Input should be 'mobilenet_v2', .* not 'vgg'."),
        (["DATA", "--fine-tune-share", "0"], "--fine-tune-share: Input should be greater than 0, not 0.0."),
        (["DATA", "--name", "../x"], "--name: String should match pattern"),
        (["DATA", "--test", "0.5", "--validation", "0.5"], "leave less than a fifth of the pictures"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, data: Path, arguments: list[str], words: str) -> None:
    """With exit code 2, the option's name and its limit; no run is made."""
    source = two_classes(tmp_path / "pets", each=1)
    result = glimt("train", *(source if one == "DATA" else one for one in arguments))
    assert result.exit_code == 2
    assert re.search(words, result.stderr)
    assert Runs(data).all() == []


def test_an_architectures_name_is_refused(tmp_path: Path, data: Path) -> None:
    """Before hours of training: it could not be published."""
    result = glimt("train", two_classes(tmp_path / "pets", each=1), "--name", "resnet50")
    assert (result.exit_code, Runs(data).all()) == (1, [])
    assert "resnet50 is an architecture" in result.stderr


def test_weights_that_are_nowhere_are_refused(tmp_path: Path, data: Path) -> None:
    """Before pictures are gathered for them: neither a file nor a version."""
    result = glimt("train", two_classes(tmp_path / "pets", each=1), "--weights", "nothere.h5")
    assert (result.exit_code, Runs(data).all()) == (1, [])
    assert "There is no file nothere.h5, and no model of that name" in result.stderr


def test_while_another_is_trained_no_run_is_made(tmp_path: Path, data: Path) -> None:
    """It would wait for a trainer that never comes."""
    other = a_run(data, "pets")
    with Runs(data).training(other):
        result = glimt("train", two_classes(tmp_path / "pets", each=1))
    assert result.exit_code == 1
    assert f"{other.id} is being trained" in result.stderr
    assert [run.id for run in Runs(data).all()] == [other.id]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "glimt serve --model pets:0123456789ab"),
        ("http://127.0.0.1:1", "glimt models activate pets:0123456789ab"),
    ],
)
def test_how_to_serve_it(data: Path, url: str | None, words: str) -> None:
    """Where a service runs, another could not start; one that was not better needs --override there."""
    report, settings = a_report(), Settings()
    assert report.gate
    passed, failed = (
        report.model_copy(update={"gate": report.gate.model_copy(update={"passed": to})}) for to in (True, False)
    )
    with claimed(data) as claim:
        if url:
            claim.announce(url)
        assert to_serve("pets:0123456789ab", passed, settings) == f"To serve it: {words}"
        assert to_serve("pets:0123456789ab", failed, settings).endswith(" --override") is bool(url)


def test_feedback_extends_the_newest_run_that_is_done(tmp_path: Path, data: Path) -> None:
    """Its options stay but for those that are given, its classes spell the labels; what was left out is told."""
    earlier = finished(data, two_classes(tmp_path / "pets"), name="fails", epochs=7, dense=16)
    kept(data, (500, "right", None), (501, "wrong", "Dog"), (502, "wrong", None))
    result = glimt("train", "--from-feedback", "--epochs", "2")
    order = (run := only_new(data, earlier)).order
    assert (order.name, order.extends, order.origin) == ("fails", earlier.id, "feedback")
    assert (order.source, order.epochs, order.dense, order.size) == ("feedback.csv", 2, 16, 32)
    assert (
        "2 pictures from feedback. Left out: 1 without the right label. Together with the pictures of" in result.stderr
    )
    dataset = gather(order, run, LIMITS, say=lambda done, total: None)
    assert dataset.classes == ("cat", "dog")
    assert [sample.origin for sample in dataset.samples[40:]] == ["feedback"] * 2


def test_a_run_without_anything_to_learn_is_not_made(tmp_path: Path, data: Path) -> None:
    """No feedback at all, and none since then."""
    assert "has no feedback" in glimt("train", "--from-feedback").stderr
    kept(data, (500, "right", None))
    result = glimt("train", "--from-feedback", "--since", "2999-01-01")
    assert result.exit_code == 1
    assert "0 pictures from feedback. To learn from them, none is left." in result.stderr
    assert Runs(data).all() == []


def test_a_failed_run_can_be_gone_on_with(tmp_path: Path, data: Path) -> None:
    """One that is done cannot, and how to train on is said; nor one that is not there."""
    source = two_classes(tmp_path / "pets", each=1)
    glimt("train", source, "--name", "fails")
    run = only_new(data)
    assert "Too few pictures." in glimt("train", "--resume", run.id).stderr
    assert only_new(data).id == run.id
    run.write(run.status().model_copy(update={"state": "done"}))
    assert f"is done. To train on: glimt train DATA --extends {run.id}" in glimt("train", "--resume", run.id).stderr
    assert "There is no training run" in glimt("train", "--resume", "20260101-000000-abcdef").stderr


def test_cancelling_ends_with_130(tmp_path: Path) -> None:
    """As a shell expects it of Ctrl-C, with the way to go on."""
    result = glimt("train", two_classes(tmp_path / "pets", each=1), "--name", "interrupted")
    assert result.exit_code == 130
    assert re.search("Cancelled. To go on with it: glimt train --resume 2", result.stderr)


@pytest.mark.slow
def test_a_model_from_its_data_to_its_figures(tmp_path: Path, data: Path) -> None:
    """Trained, measured, published; then served by name to measure it again, as tables and as JSON."""

    def glimt(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"GLIMT_MODEL": "demo"}
        command = [sys.executable, "-m", "service", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    source = two_classes(tmp_path / "pets")
    trained = glimt("train", source, "--model", "cnn", "--size", "32", "--epochs", "2", "--fine-tune-epochs", "0")
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"^8 test pictures", trained.stdout, re.MULTILINE)
    assert re.search(r"^accuracy +\d+\.\d", trained.stdout, re.MULTILINE)
    published = re.search(
        r"^Published (pets:\w+)\.\nTo serve it: glimt serve --model \1$", trained.stdout, re.MULTILINE
    )
    assert published, trained.stdout
    shown = glimt("evaluate", source, "--model", published[1])
    assert re.search(r"^40 pictures", shown.stdout, re.MULTILINE)
    assert "Careful: it had 32 of these 40 pictures in its training" in shown.stdout
    document = orjson.loads(glimt("evaluate", source, "--model", "pets", "--json").stdout)
    assert f"{document['model']}:{document['version']}" == published[1]
    assert document["evaluation"]["pictures"] == 40
