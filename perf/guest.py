"""What all users of locustfile.py share: the options, pictures and forms, and one way to ask."""
# mypy: disable-error-code="misc, untyped-decorator, no-any-return"
# (Locust has no types that mypy --strict could follow)

import argparse
import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.exception import CatchResponseError

from service.errors import BadRequest
from service.tuning.pictures import photos

MAX_WAIT_S = 60  # obeyed of a Retry-After
UNIQUE_BYTES = 16

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
    """Ours beside Locust's. They stand in its page too, if they are no group; plain types only travel to it. Secrets
    stay out of the page: whoever opens it would read them."""
    add, secret = parser.add_argument, {"include_in_web_ui": False}
    add("--images", type=folder, default="", help="Folder of pictures; made ones without it.")
    add("--repeat", action="store_true", help="Send the same pictures again and again: the cache may answer.")
    add("--parts", type=int, default=4, help="Pictures in one stream.")
    add("--rest", type=float, default=0.0, help="Seconds a user rests after each task (ReferenceA: always 1 to 5).")
    add("--receipts", action="store_true", help="The service's own decode, queue and infer times as samples.")
    add("--token", env_var="GLIMT_TOKEN", default="", help="A personal token, for all but ReferenceA.", **secret)
    add("--email", env_var="GLIMT_EMAIL", default="admin@example.com", help="ReferenceA's account.")
    add("--password", env_var="GLIMT_PASSWORD", default="admin", help="ReferenceA's password.", **secret)


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

    @property
    def token(self) -> str:
        """What is shown as Bearer; nothing if empty."""
        return self.given.token

    def is_signed_out(self, response: Any) -> bool:
        """Whether a token has ended as it must, and another will be fetched."""
        return False

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        read: Read = lambda response: None,
        **request: Any,
    ) -> Any | None:
        """One request, one sample. The answer; None when it failed, or was refused and the wait is over."""
        shown = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = shown | dict(headers or {})
        with self.client.request(method, path, catch_response=True, headers=headers, **request) as response:
            wait_s = refused_s(response)
            answered = 200 <= response.status_code < 400
            if wait_s is not None:
                response.request_meta["name"] += " refused"
                response.success()
            elif self.is_signed_out(response):
                response.request_meta["name"] += " signed out"
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
