"""How things are said on pages: the templates, who is signed in at their top, and the words for figures and states."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.templating import Jinja2Templates

from service.counting import counted
from service.errors import GlimtError
from service.inference.classifier import Classifier
from service.inference.predictions import Receipt

LIGHTS = {
    "ready": "Ready",
    "loading": "Warming up",
    "failed": "Out of order",
    "draining": "Shutting down",
}
COMMAND = re.compile(r"(?:scripts/serve|glimt [a-z]+)(?: --[a-z-]+(?: [\w/.-]*\w)?)+")
"""How a notice names what to type."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What a page says about a form that could not be taken: at which field, in which words."""

    field: str
    words: str
    error: GlimtError


def make_templates(web_dir: Path) -> Jinja2Templates:
    """The templates of `web_dir`, autoescaped; an unknown variable is an empty one."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(web_dir / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"words": words, "percent": percent, "receipt": receipt, "with_code": with_code}
    env.filters["counted"] = counted
    env.filters |= {"moment": moment, "day": day, "duration": duration, "size": size}
    env.globals["new_key"] = lambda: uuid4().hex
    return Jinja2Templates(env=env, context_processors=[signed_in])


def light(classifier: Classifier) -> dict[str, str]:
    """The health light of the masthead."""
    status, model = classifier.status, classifier.model
    return {"state": status, "words": LIGHTS[status], "model": f"{model.name} {model.version}"}


def notice(classifier: Classifier, request: Request) -> str | None:
    """What is said about a model that is not what one would expect: to admins, with where files were looked for."""
    identity = request.scope.get("identity")
    details = classifier.serving.details if identity is not None and identity.is_admin else None
    return details or classifier.notice


def masthead(classifier: Classifier, request: Request) -> dict[str, Any]:
    """For the top of every page: the health light, and the notice if there is one."""
    return {"light": light(classifier), "notice": notice(classifier, request)}


def signed_in(request: Request) -> dict[str, Any]:
    """For every page: who asks. Where no door was passed (an unknown address) nobody can say: neither is set."""
    identity = request.scope.get("identity")
    return {"identity": identity, "anonymous": identity is None and "identity" in request.scope}


def words(label: str) -> str:
    """`golden_retriever` as a person writes it."""
    return label.replace("_", " ")


def percent(score: float) -> str:
    """0.9346 -> `93.5 %`, with a space that does not break."""
    return f"{score * 100:.1f}\N{NO-BREAK SPACE}%"


def moment(when: datetime, pattern: str = "%Y-%m-%d %H:%M UTC") -> Markup:
    """A point in time, in UTC, to the minute; for machines to the second."""
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(timespec="seconds"), when.strftime(pattern))


def day(when: datetime) -> Markup:
    """The day of it."""
    return moment(when, "%Y-%m-%d")


def duration(seconds: float) -> str:
    """A time as one says it: `about 25 seconds`."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5} seconds"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {round(seconds / 3600)} hours"


def size(count: int) -> str:
    """Bytes as one says them: `12.3 MiB`, with a space that does not break."""
    if count < 1024:
        return f"{count}\N{NO-BREAK SPACE}bytes"
    unit, name = (1024 * 1024, "MiB") if count >= 1024 * 1024 else (1024, "KiB")
    return f"{count / unit:,.1f}\N{NO-BREAK SPACE}{name}"


def receipt(times: Receipt) -> str:
    """Where the time went, in one line."""
    if times.cached and not times.batch_size:
        return f"seen before · answered from the cache in {_ms(times.total_ms)}"
    batch = f"batch of {times.batch_size} in {_ms(times.infer_ms)}"
    if times.cached:
        return f"the same picture was under way · {batch}"
    return f"decoded {_ms(times.decode_ms)} · waited {_ms(times.queue_ms)} · {batch}"


def _ms(duration: float) -> str:
    return f"{duration:.0f} ms" if duration >= 1 else "<1 ms"


def with_code(text: str) -> Markup:
    """Escaped text in which commands stand as code."""
    marked, at = Markup(), 0
    for command in COMMAND.finditer(text):
        marked += text[at : command.start()] + Markup("<code>{}</code>").format(command[0])
        at = command.end()
    return marked + text[at:]
