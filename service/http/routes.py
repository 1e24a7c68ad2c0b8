"""The route table: every address, whom it lets in, and who answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.convertors import Convertor, StringConvertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service.http.access import Access, Door, Endpoint, Gate
from service.http.account_pages import AccountPages
from service.http.accounts import AccountEndpoints
from service.http.batching import Batching
from service.http.classify import Classify
from service.http.docs import Docs
from service.http.explain import Explain
from service.http.feedback import FeedbackEndpoints
from service.http.history import HistoryEndpoints
from service.http.job_pages import JobPages
from service.http.jobs import JobEndpoints
from service.http.model_pages import ModelPages
from service.http.models import ModelEndpoints
from service.http.operations import Operations
from service.http.ops import Ops
from service.http.pages import Pages
from service.http.people_pages import PeoplePages
from service.http.reference import ReferenceA
from service.http.review_pages import ReviewPages
from service.http.training import TrainingEndpoints
from service.http.training_pages import TrainingPages
from service.models.names import REF
from service.training.runs import ID

PUBLIC, GUEST, USER, ADMIN = Access.PUBLIC, Access.GUEST, Access.USER, Access.ADMIN


@dataclass(frozen=True)
class Desks:
    """Who answers: the objects whose methods are the endpoints."""

    account_pages: AccountPages
    accounts: AccountEndpoints
    batching: Batching
    classify: Classify
    docs: Docs
    explain: Explain
    feedback: FeedbackEndpoints
    history: HistoryEndpoints
    job_pages: JobPages
    jobs: JobEndpoints
    models: ModelEndpoints
    model_pages: ModelPages
    operations: Operations
    ops: Ops
    pages: Pages
    people_pages: PeoplePages
    reference: ReferenceA
    review: ReviewPages
    training: TrainingEndpoints
    training_pages: TrainingPages


class FreshFiles(StaticFiles):
    """Asked for anew each time (an unchanged file is a 304): after an upgrade nobody runs yesterday's script.

    Ranges are passed over, as a server may (RFC 9110, 14.2): no file is large enough to need them.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Id(Convertor[int]):
    """A row's number in a path: longer ones cannot exist, and Python refuses to read them."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


class Ref(StringConvertor):
    """A model version in a path."""

    regex = REF.replace("(", "(?:")


class Sha256(StringConvertor):
    """A picture in a path."""

    regex = "[0-9a-f]{64}"


class Stamp(StringConvertor):
    """A dataset or a training run in a path: when it was made, and six digits more."""

    regex = ID.pattern


Row = tuple[str, str, Endpoint, Access]


def account_rows(to: AccountEndpoints) -> list[Row]:
    """Accounts and who may see and change them."""
    return [
        ("POST", "/user/", to.create_user, PUBLIC),
        ("GET", "/user/", to.list_users, ADMIN),
        ("GET", "/user/{user_id:id}", to.read_user, USER),
        ("PATCH", "/user/{user_id:id}", to.change_user, ADMIN),
        ("PUT", "/user/{user_id:id}/password", to.reset_password, ADMIN),
        ("DELETE", "/user/{user_id:id}", to.delete_user, USER),
    ]  # fmt: skip


def make_account_routes(gate: Gate, to: AccountEndpoints) -> list[BaseRoute]:
    """Those alone: what `glimt users` needs where no service runs."""
    return _doors(gate, account_rows(to))


def make_routes(gate: Gate, to: Desks, web: Path) -> list[BaseRoute]:
    """The table. `web` is the folder of the static files."""
    table: list[Row] = [
        ("GET", "/", to.pages.index, GUEST),
        ("POST", "/", to.pages.classify, GUEST),
        ("GET", "/labels", to.pages.labels, GUEST),
        ("GET", "/health-light", to.pages.health_light, PUBLIC),
        ("POST", "/cards/feedback", to.pages.feedback, GUEST),
        ("POST", "/cards/feedback/{id:id}/undo", to.pages.undo, GUEST),
        ("POST", "/predict", to.classify.predict, GUEST),
        ("POST", "/api/explain", to.explain.explain, GUEST),
        ("POST", "/model/predict", to.reference.predict, USER),
        ("POST", "/feedback", to.feedback.create, GUEST),
        ("POST", "/feedback/", to.feedback.create, GUEST),
        ("GET", "/feedback", to.feedback.index, GUEST),
        ("GET", "/feedback/", to.feedback.index, GUEST),
        ("DELETE", "/feedback/{feedback_id:id}", to.feedback.delete, GUEST),
        ("POST", "/login", to.accounts.login, PUBLIC),
        *account_rows(to.accounts),
        ("GET", "/api/me", to.accounts.me, USER),
        ("DELETE", "/api/me", to.accounts.delete_me, USER),
        ("PUT", "/api/me/password", to.accounts.change_password, USER),
        ("POST", "/api/me/sign-out-everywhere", to.accounts.sign_out_everywhere, USER),
        ("GET", "/api/tokens", to.accounts.list_tokens, USER),
        ("POST", "/api/tokens", to.accounts.create_token, USER),
        ("DELETE", "/api/tokens/{token_id:id}", to.accounts.revoke_token, USER),
        ("GET", "/api/me/export", to.accounts.export, USER),
        ("GET", "/api/history", to.history.index, USER),
        ("DELETE", "/api/history", to.history.delete_all, USER),
        ("DELETE", "/api/history/{row_id:id}", to.history.delete, USER),
        ("POST", "/api/history/{row_id:id}/rerun", to.history.rerun, USER),
        ("GET", "/api/history/{row_id:id}/picture", to.history.picture, USER),
        ("GET", "/history", to.history.page, USER),
        ("POST", "/history/delete-all", to.history.page_delete_all, USER),
        ("POST", "/history/{row_id:id}/delete", to.history.page_delete, USER),
        ("POST", "/history/{row_id:id}/rerun", to.history.page_rerun, USER),
        ("POST", "/api/jobs", to.jobs.create, GUEST),
        ("GET", "/api/jobs", to.jobs.index, GUEST),
        ("GET", "/api/jobs/{job_id:id}", to.jobs.read, GUEST),
        ("DELETE", "/api/jobs/{job_id:id}", to.jobs.delete, GUEST),
        ("GET", "/api/jobs/{job_id:id}/results", to.jobs.results, GUEST),
        ("GET", "/api/jobs/{job_id:id}/report", to.jobs.report, GUEST),
        ("GET", "/api/jobs/{job_id:id}/items", to.jobs.items, GUEST),
        ("GET", "/api/jobs/{job_id:id}/items/{position:id}/thumbnail", to.jobs.thumbnail, GUEST),
        ("GET", "/jobs", to.job_pages.index, GUEST),
        ("POST", "/jobs", to.job_pages.create, GUEST),
        ("POST", "/jobs/folder", to.job_pages.create_from_folder, ADMIN),
        ("GET", "/jobs/{job_id:id}/live", to.job_pages.live, GUEST),
        ("GET", "/jobs/{job_id:id}", to.job_pages.job, GUEST),
        ("POST", "/jobs/{job_id:id}/cancel", to.job_pages.cancel, GUEST),
        ("POST", "/jobs/{job_id:id}/remove", to.job_pages.remove, GUEST),
        ("GET", "/jobs/{job_id:id}/items/{position:id}", to.job_pages.item, GUEST),
        ("GET", "/api/models", to.models.index, GUEST),
        ("POST", "/api/models", to.models.take_in, ADMIN),
        ("POST", "/api/roll-back", to.models.roll_back, ADMIN),
        ("GET", "/api/models/{ref:ref}", to.models.read, GUEST),
        ("DELETE", "/api/models/{ref:ref}", to.models.delete, ADMIN),
        ("GET", "/api/models/{ref:ref}/compare", to.models.compare, GUEST),
        ("GET", "/api/models/{ref:ref}/export", to.models.export, ADMIN),
        ("POST", "/api/models/{ref:ref}/activate", to.models.activate, ADMIN),
        ("GET", "/api/trial", to.models.trial, GUEST),
        ("PUT", "/api/trial", to.models.begin_trial, ADMIN),
        ("DELETE", "/api/trial", to.models.end_trial, ADMIN),
        ("GET", "/api/trial/differences", to.models.differences, ADMIN),
        ("POST", "/api/training/datasets", to.training.create_dataset, ADMIN),
        ("GET", "/api/training/datasets", to.training.datasets, ADMIN),
        ("GET", "/api/training/datasets/{dataset:stamp}", to.training.dataset, ADMIN),
        ("DELETE", "/api/training/datasets/{dataset:stamp}", to.training.delete_dataset, ADMIN),
        ("POST", "/api/training/runs", to.training.create, ADMIN),
        ("GET", "/api/training/runs", to.training.index, ADMIN),
        ("GET", "/api/training/runs/{run:stamp}", to.training.read, ADMIN),
        ("DELETE", "/api/training/runs/{run:stamp}", to.training.delete, ADMIN),
        ("POST", "/api/training/runs/{run:stamp}/resume", to.training.resume, ADMIN),
        ("GET", "/api/training/runs/{run:stamp}/report", to.training.report, ADMIN),
        ("GET", "/api/training/runs/{run:stamp}/pictures/{index:id}", to.training.picture, ADMIN),
        ("GET", "/api/training/runs/{run:stamp}/sheets/{sheet}", to.training.sheet, ADMIN),
        ("GET", "/training", to.training_pages.index, ADMIN),
        ("POST", "/training", to.training_pages.create, ADMIN),
        ("POST", "/training/datasets", to.training_pages.create_dataset, ADMIN),
        ("POST", "/training/datasets/{dataset:stamp}/remove", to.training_pages.remove_dataset, ADMIN),
        ("GET", "/training/{run:stamp}", to.training_pages.run, ADMIN),
        ("GET", "/training/{run:stamp}/live", to.training_pages.live, ADMIN),
        ("GET", "/training/{run:stamp}/curves", to.training_pages.curves, ADMIN),
        ("GET", "/training/{run:stamp}/cell", to.training_pages.cell, ADMIN),
        ("POST", "/training/{run:stamp}/cancel", to.training_pages.cancel, ADMIN),
        ("POST", "/training/{run:stamp}/resume", to.training_pages.resume, ADMIN),
        ("POST", "/training/{run:stamp}/remove", to.training_pages.remove, ADMIN),
        ("GET", "/review", to.review.page, ADMIN),
        ("POST", "/review", to.review.decide, ADMIN),
        ("POST", "/review/train", to.review.train, ADMIN),
        ("POST", "/review/{id:id}/undo", to.review.undo, ADMIN),
        ("GET", "/review/pictures/{sha256:sha256}", to.review.picture, ADMIN),
        ("GET", "/models", to.model_pages.index, ADMIN),
        ("POST", "/models/activate", to.model_pages.activate, ADMIN),
        ("POST", "/models/roll-back", to.model_pages.roll_back, ADMIN),
        ("POST", "/models/delete", to.model_pages.delete, ADMIN),
        ("POST", "/models/import", to.model_pages.take_in, ADMIN),
        ("GET", "/models/trial", to.model_pages.trial, ADMIN),
        ("POST", "/models/trial", to.model_pages.begin_trial, ADMIN),
        ("GET", "/models/trial/{sha256:sha256}", to.model_pages.difference, ADMIN),
        ("POST", "/models/trial/stop", to.model_pages.end_trial, ADMIN),
        ("GET", "/models/{ref:ref}/compare", to.model_pages.compare, ADMIN),
        ("GET", "/sign-in", to.account_pages.sign_in_page, PUBLIC),
        ("POST", "/sign-in", to.account_pages.sign_in, PUBLIC),
        ("POST", "/sign-out", to.account_pages.sign_out, PUBLIC),
        ("GET", "/sign-up", to.account_pages.sign_up_page, PUBLIC),
        ("POST", "/sign-up", to.account_pages.sign_up, PUBLIC),
        ("GET", "/account", to.account_pages.account, USER),
        ("POST", "/account/password", to.account_pages.change_password, USER),
        ("POST", "/account/tokens", to.account_pages.create_token, USER),
        ("POST", "/account/tokens/{token_id:id}/revoke", to.account_pages.revoke_token, USER),
        ("POST", "/account/sessions/{token_id:id}/end", to.account_pages.end_session, USER),
        ("POST", "/account/sign-out-everywhere", to.account_pages.sign_out_everywhere, USER),
        ("POST", "/account/delete", to.account_pages.delete, USER),
        ("GET", "/people", to.people_pages.people, ADMIN),
        ("POST", "/people", to.people_pages.create, ADMIN),
        ("POST", "/people/{user_id:id}/role", to.people_pages.set_role, ADMIN),
        ("POST", "/people/{user_id:id}/password", to.people_pages.reset_password, ADMIN),
        ("POST", "/people/{user_id:id}/delete", to.people_pages.delete, ADMIN),
        ("GET", "/healthz", to.operations.healthz, PUBLIC),
        ("GET", "/readyz", to.operations.readyz, PUBLIC),
        ("GET", "/health", to.operations.health, PUBLIC),
        ("GET", "/metrics", to.operations.metrics, GUEST),
        ("GET", "/openapi.json", to.docs.document, GUEST),
        ("GET", "/docs", to.docs.page, GUEST),
        ("GET", "/api/batching", to.batching.read, GUEST),
        ("PATCH", "/api/batching", to.batching.change, ADMIN),
        ("GET", "/ops", to.ops.page, GUEST),
        ("GET", "/ops/live", to.ops.live, GUEST),
        ("POST", "/ops/batching", to.ops.change, ADMIN),
    ]  # fmt: skip
    return [*_doors(gate, table), Mount("/static", FreshFiles(directory=web / "static"), name="static")]


def _doors(gate: Gate, table: list[Row]) -> list[BaseRoute]:
    register_url_convertor("id", Id())
    register_url_convertor("ref", Ref())
    register_url_convertor("sha256", Sha256())
    register_url_convertor("stamp", Stamp())
    return [Door(gate, method, path, endpoint, access) for method, path, endpoint, access in table]
