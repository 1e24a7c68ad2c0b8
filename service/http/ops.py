"""The live panel /ops: a page, the fragment it asks for each second, and the form that moves the batch limits.

Knows HTTP and where to ask; what the figures mean is in panel.py.
"""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.errors import Conflict, InvalidField
from service.http.access import identity_of, name_of
from service.http.batching import BatchingChange, configure, limits
from service.http.operation import PAGE, Operation, form
from service.http.panel import BATCH_STOPS, WAIT_STOPS_MS, Panel, curve_chart, dial
from service.http.presentation import masthead
from service.http.uploads import read_fields
from service.inference.classifier import Classifier
from service.metrics import Metrics


class Ops:
    """The endpoints of the panel and what they need. Without JavaScript the page stands still and the form works."""

    def __init__(self, classifier: Classifier, metrics: Metrics, templates: Jinja2Templates) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._templates = templates
        self._started = time.monotonic()

    @Operation("page", PAGE)
    async def page(self, request: Request) -> Response:
        """The live panel."""
        return self._page(request)

    @Operation("page", PAGE)
    async def live(self, request: Request) -> Response:
        """What moves on the panel, polled by it."""
        return self._templates.TemplateResponse(request, "_ops_live.html", {"panel": self._panel()})

    @Operation("page", PAGE, body=form(BatchingChange), errors=(Conflict, InvalidField))
    async def change(self, request: Request) -> Response:
        """Set the panel's limits at once. Answers what is in force now, or the whole page without JavaScript."""
        fields = await read_fields(request)
        auto = {"auto": True} if fields.get("auto") == "true" else {}  # a form has no other way to say it
        configure(self._classifier, BatchingChange.of(fields | auto, strict=False), name_of(request))
        if "hx-request" not in request.headers:
            return self._page(request)
        context = {"limits": limits(self._classifier), "done": True}
        return self._templates.TemplateResponse(request, "_ops_said.html", context)

    def _page(self, request: Request) -> Response:
        now = limits(self._classifier)
        context = {
            **masthead(self._classifier, request),
            "panel": self._panel(),
            "dials": [
                dial("max_batch", "Largest batch", now["max_batch"], BATCH_STOPS, lowest=1),
                dial("max_wait_ms", "Window in ms", now["max_wait_ms"], WAIT_STOPS_MS, lowest=0),
            ],
            "may_operate": (identity := identity_of(request)) is not None and identity.is_admin,
            "chart": curve_chart(self._classifier.curve),
            "curve": self._classifier.curve,
            "calibrates": self._classifier.calibrates,
        }
        return self._templates.TemplateResponse(request, "ops.html", context)

    def _panel(self) -> Panel:
        return Panel(self._classifier, self._metrics, time.monotonic() - self._started)
