"""Users for Locust, in its own page or headless.

    .venv/bin/pip install -e '.[load]'
    .venv/bin/locust -f perf/locustfile.py --class-picker                            # http://localhost:8089
    .venv/bin/locust -f perf/locustfile.py --headless -u 32 -r 32 -t 60s Json
    .venv/bin/locust -f perf/locustfile.py,perf/shapes.py --headless --shape steps ReferenceA  # 10 to 100 users

The users are Json, Stream, Page, Feedback and ReferenceA; without a name all of them come. `-H URL` says where the
service is. Pictures come from `--images DIR` or are made, each with bytes of its own behind its end so that the cache
does not answer; `--repeat` sends them as they are. A user rests `--rest` seconds after each task: with 0, the default,
the load is a closed loop. `--receipts` adds what the service says about its own times as samples.

ReferenceA signs in as `--email` with `--password`; as they stand that is the demo account, which a service has that was
started with GLIMT_DEMO_ACCOUNT=1. The others are anybody, or where a login is required they show `--token`, a personal
one. In the environment they are GLIMT_EMAIL, GLIMT_PASSWORD and GLIMT_TOKEN.

A 503 with Retry-After is an answer, not a failure: it has a row of its own ("... refused"), and the user waits as
told. Locust's row "Aggregated" mixes everything; read the others. Locust is one process on one core and says so when
it is short of CPU: then what it measures is itself. Give it another machine, or cores with `--processes 2`.
"""
# mypy: disable-error-code="misc, untyped-decorator, no-any-return"
# (Locust has no types that mypy --strict could follow)

import html
import json
import random
import re
import time
import uuid
from functools import partial
from typing import Any
from urllib.parse import urlencode

from locust import between, task

from perf.guest import Guest, form

FEEDBACK_SHARE = 0.3  # of the cards on the page that somebody says something about
HTMX = {"HX-Request": "true"}


def first_form(page: str) -> dict[str, str]:
    """The hidden fields of the first form in a fragment: on a card that is the button "Right"."""
    until_its_end = page.partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', until_its_end)
    return {name: html.unescape(value) for name, value in found}


class Json(Guest):
    """One picture a request, as the body or as a form."""

    weight = 4

    @task
    def raw(self) -> None:
        headers = {"Content-Type": "image/jpeg"}
        self.ask("POST", "/predict", name="/predict raw", data=self.picture(), headers=headers, read=self.receipt)

    @task
    def multipart(self) -> None:
        headers, body = form({}, [self.picture()])
        self.ask("POST", "/predict", name="/predict form", data=body, headers=headers, read=self.receipt)


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
    token = ""
    worked = False  # the token, at least once

    def on_start(self) -> None:
        self.sign_in()

    def sign_in(self) -> None:
        """A token for half an hour; as A's clients do it, with the empty fields of an OAuth2 form."""
        empty = dict.fromkeys(("grant_type", "scope", "client_id", "client_secret"), "")
        fields = empty | {"username": self.given.email, "password": self.given.password}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        super().ask("POST", "/login", name="A: /login", data=urlencode(fields), headers=headers, read=self.keep_token)

    def keep_token(self, response: Any) -> None:
        self.token = json.loads(response.content)["access_token"]

    def is_signed_out(self, response: Any) -> bool:
        """A token that worked before has ended; one that never did is refused, which is a failure. Both go."""
        if response.status_code != 401:
            return False
        ended, self.worked, self.token = self.worked, False, ""
        return ended

    def ask(self, method: str, path: str, **request: Any) -> Any | None:
        if not self.token:
            self.sign_in()
        answer = super().ask(method, path, **request)
        self.worked = self.worked or answer is not None
        return answer

    @task(2)
    def light(self) -> None:
        self.ask("GET", "/", name="A: /")

    @task
    def predict(self) -> None:
        headers, body = form({}, [self.picture()])
        name = "A: /model/predict"
        self.ask("POST", "/model/predict", name=name, data=body, headers=headers, read=self.score)

    def score(self, response: Any) -> None:
        """Check that the answer is one."""
        float(json.loads(response.content)["score"])
