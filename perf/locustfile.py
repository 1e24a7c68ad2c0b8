"""Users for Locust, in its own page or headless.

    .venv/bin/pip install -e '.[load]'
    .venv/bin/locust -f perf/locustfile.py --class-picker                            # http://localhost:8089
    .venv/bin/locust -f perf/locustfile.py --headless -u 32 -r 32 -t 60s Json
    .venv/bin/locust -f perf/locustfile.py,perf/shapes.py --headless --shape steps ReferenceA  # 10 to 100 users

The users are Json, Stream, Page, Feedback and ReferenceA; without a name all of them come. `-H URL` says where the
service is. Pictures come from `--images DIR` or are made, each with bytes of its own behind its end so that the cache
does not answer; `--repeat` sends them as they are. A user rests `--rest` seconds after each task: with 0, the default,
the load is a closed loop. `--receipts` adds what the service says about its own times as samples.

A 503 with Retry-After is an answer, not a failure: it has a row of its own ("... refused"), and the user waits as
told. Locust's row "Aggregated" mixes everything; read the others. Locust is one process on one core and says so when
it is short of CPU: then what it measures is itself. Give it another machine, or cores with `--processes 2`.
"""
# mypy: disable-error-code="misc, untyped-decorator, no-any-return"
# (Locust has no types that mypy --strict could follow)

import argparse
import html
import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.exception import CatchResponseError

from service.errors import BadRequest
from service.tuning.pictures import photos

MAX_WAIT_S = 60  # obeyed of a Retry-After
UNIQUE_BYTES = 16
FEEDBACK_SHARE = 0.3  # of the cards on the page that somebody says something about
HTMX = {"HX-Request": "true"}

Read = Callable[[Any], None]
"""Reads an answer while its sample is open; may call its `failure`."""


@cache
def pictures(images: str) -> list[bytes]:
    """The files of the folder, or made ones; see `photos`."""
    return photos(Path(images) if images else None)


def folder(text: str) -> str:
    """`--images`, checked. Read or made here: before the load begins and, with --processes, before the fork."""
    try:
        pictures(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(error.detail) from error
    time.sleep(0)  # Locust's: its clock stands still while nobody sleeps, and -t would have counted the making
    return text


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Ours beside Locust's. They stand in its page too, if they are no group; plain types only travel to it."""
    add = parser.add_argument
    add("--images", type=folder, default="", help="Folder of pictures; made ones without it.")
    add("--repeat", action="store_true", help="Send the same pictures again and again: the cache may answer.")
    add("--parts", type=int, default=4, help="Pictures in one stream.")
    add("--rest", type=float, default=0.0, help="Seconds a user rests after each task (ReferenceA: always 1 to 5).")
    add("--receipts", action="store_true", help="The service's own decode, queue and infer times as samples.")


def form(fields: Mapping[str, str], files: Sequence[bytes]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a multipart form: text fields and pictures. (Locust's fast client makes none.)"""
    boundary, body = uuid.uuid4().hex, []
    for name, value in fields.items():
        body.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for number, data in enumerate(files):
        disposition = f'Content-Disposition: form-data; name="file"; filename="{number}.jpg"'
        body += [f"--{boundary}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n".encode(), data, b"\r\n"]
    body.append(f"--{boundary}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, b"".join(body)


def first_form(page: str) -> dict[str, str]:
    """The hidden fields of the first form in a fragment: on a card that is the button "Right"."""
    until_its_end = page.partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', until_its_end)
    return {name: html.unescape(value) for name, value in found}


def refused_s(response: Any) -> int | None:
    """The seconds to wait when the service said no in the way it promises to; None for every other answer."""
    after = (response.headers or {}).get("retry-after", "")
    if response.status_code != 503 or not re.fullmatch("[0-9]{1,9}", after):
        return None
    return min(int(after), MAX_WAIT_S)


class Guest(FastHttpUser):
    """What all users share. One connection each, kept open."""

    abstract = True
    host = "http://127.0.0.1:8000"

    @property
    def given(self) -> Any:
        """The options of the command line, or of the page's form."""
        return self.environment.parsed_options

    def wait_time(self) -> float:
        return self.given.rest

    def picture(self) -> bytes:
        """One that the service has not seen yet, unless repeats are wanted."""
        picture = random.choice(pictures(self.given.images))
        return picture if self.given.repeat else picture + os.urandom(UNIQUE_BYTES)

    def ask(self, method: str, path: str, *, read: Read = lambda response: None, **request: Any) -> Any | None:
        """One request, one sample. The answer; None when it failed, or was refused and the wait is over."""
        with self.client.request(method, path, catch_response=True, **request) as response:
            wait_s = refused_s(response)
            answered = 200 <= response.status_code < 400
            if wait_s is not None:
                response.request_meta["name"] += " refused"
                response.success()
            elif answered:
                try:
                    read(response)
                except (*FAILURE_EXCEPTIONS, ValueError, KeyError) as error:  # cut off, or not what was promised
                    response.failure(error)
        time.sleep(wait_s or 0)  # Locust's: only this user sleeps
        return response if answered else None

    def sample(self, kind: str, name: str, took_ms: float, length: int = 0, error: str | None = None) -> None:
        """A row of its own in the statistics."""
        exception = CatchResponseError(error) if error else None
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=took_ms, response_length=length, exception=exception, context={}
        )

    def receipt(self, response: Any) -> None:
        """Check that the answer is one, and sample what it says about itself."""
        receipt = json.loads(response.content)["receipt"]
        if self.given.receipts:
            for stage in ("decode", "queue", "infer"):
                self.sample("receipt", stage, receipt[f"{stage}_ms"])

    def predict_form(self, name: str) -> None:
        """One picture as a form."""
        headers, body = form({}, [self.picture()])
        self.ask("POST", "/predict", name=name, data=body, headers=headers, read=self.receipt)


class Json(Guest):
    """One picture a request, as the body or as a form."""

    weight = 4

    @task
    def raw(self) -> None:
        headers = {"Content-Type": "image/jpeg"}
        self.ask("POST", "/predict", name="/predict raw", data=self.picture(), headers=headers, read=self.receipt)

    @task
    def multipart(self) -> None:
        self.predict_form("/predict form")


class Stream(Guest):
    """Several pictures a request, answered line by line: a sample for each line, from the request's start on."""

    @task
    def several(self) -> None:
        count = self.given.parts
        headers, body = form({}, [self.picture() for _ in range(count)])
        headers |= {"Accept": "application/x-ndjson", "Accept-Encoding": "identity"}
        read = partial(self.lines, expected=count)
        name = f"/predict stream of {count}"
        self.ask("POST", "/predict", name=name, data=body, headers=headers, stream=True, read=read)

    def lines(self, response: Any, expected: int) -> None:
        """Sample each line; the request's own sample then lasts to the last line and fails without a good one."""
        meta = response.request_meta
        started = time.perf_counter() - meta["response_time"] / 1000  # that was until the headers
        end: dict[str, Any] = {}
        pictures = 0
        while line := response.stream.readline(b"\n"):
            took_ms = (time.perf_counter() - started) * 1000
            meta["response_time"] = took_ms
            meta["response_length"] += len(line)
            answer = json.loads(line)
            if "done" in answer:
                end = answer
                continue
            pictures += 1
            self.sample("NDJSON", "picture", took_ms, len(line), answer.get("error", {}).get("code"))
        if not end.get("done"):
            response.failure(f"the stream was cut: {end.get('code', 'there is no last line')}")
        elif pictures != expected:
            response.failure("the stream has another number of lines than pictures were sent")


class Page(Guest):
    """Somebody with a browser: the page and its files, pictures as htmx sends them, sometimes a word about a card."""

    def on_start(self) -> None:
        self._known: dict[str, str] = {}  # what the browser has: address -> ETag
        self.open()

    @task
    def open(self) -> None:
        if (page := self.ask("GET", "/")) is None:
            return
        for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
            headers = {"If-None-Match": self._known[path]} if path in self._known else {}
            file = self.ask("GET", path, name="/static/...", headers=headers)
            if file is not None:
                self._known[path] = file.headers["etag"]

    @task(3)
    def classify(self) -> None:
        picture = self.picture()
        headers, body = form({}, [picture])
        card = self.ask("POST", "/", name="/ card", data=body, headers=headers | HTMX)
        if card is not None and random.random() < FEEDBACK_SHARE:
            headers, body = form(first_form(card.text), [picture])
            self.ask("POST", "/cards/feedback", data=body, headers=headers | HTMX)


class Feedback(Guest):
    """A program that reports what it learned, and sometimes reads it back."""

    @task(3)
    def give(self) -> None:
        said = {"predicted_class": "collie", "score": 0.5, "image_file_name": "load.jpg", "feedback": "a load test"}
        self.ask("POST", "/feedback", json=said, headers={"Idempotency-Key": uuid.uuid4().hex})

    @task
    def read(self) -> None:
        self.ask("GET", "/feedback/?limit=20", name="/feedback/")


class ReferenceA(Guest):
    """Reference system A's own load test: two light requests for each prediction, 1 to 5 seconds between them."""

    wait_time = between(1, 5)

    @task(2)
    def light(self) -> None:
        self.ask("GET", "/", name="A: /")

    @task
    def predict(self) -> None:
        self.predict_form("A: /predict")
