"""create_app(): the route table, the error table, one lifespan. What it is made of comes from construction.py."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.accounts.accounts import Accounts
from service.accounts.first import first_accounts
from service.accounts.passwords import Passwords
from service.bulk.runner import BulkRunner
from service.bulk.runner import remove as remove_job
from service.construction import (
    make_accounts,
    make_belongings,
    make_bulk_runner,
    make_gate,
    make_own_jobs,
    make_serving,
    make_worker,
)
from service.errors import GlimtError, StartError
from service.http.account_pages import AccountPages
from service.http.accounts import AccountEndpoints
from service.http.batching import Batching
from service.http.classify import Classify, note_nothing, noting_all
from service.http.cors import open_to
from service.http.docs import Docs
from service.http.explain import Explain
from service.http.feedback import FeedbackEndpoints
from service.http.history import HistoryEndpoints, noting
from service.http.hosts import Hosts
from service.http.job_pages import JobPages
from service.http.jobs import JobEndpoints
from service.http.middleware import ObserveRequest, RequestLog, SecurityHeaders
from service.http.model_pages import ModelPages
from service.http.models import ModelEndpoints
from service.http.operations import Operations
from service.http.ops import Ops
from service.http.own_jobs import OwnJobs
from service.http.pages import Pages
from service.http.people_pages import PeoplePages
from service.http.presentation import make_templates
from service.http.problems import Problems
from service.http.reference import ReferenceA
from service.http.review_desk import ReviewDesk, doubting
from service.http.review_pages import ReviewPages
from service.http.routes import Desks, make_account_routes, make_routes
from service.http.trainer_desk import TrainerDesk
from service.http.training import TrainingEndpoints
from service.http.training_pages import TrainingPages
from service.inference.classifier import Classifier
from service.inference.engines.engine import Engine
from service.inference.serving import Serving
from service.inference.worker import Worker
from service.memory import give_back_forever
from service.metrics import Metrics
from service.models.activation import Activation
from service.models.served import ServedModel
from service.settings import Settings
from service.store.database import Database
from service.store.doubts import Doubts
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.retention import Retention
from service.store.review import ReviewStore
from service.training.explainer import Explainer
from service.training.trainings import Trainings

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
WEB = next(path for path in (PACKAGE / "_web", PACKAGE.parent / "web") if path.exists())  # in a wheel, in a checkout


@dataclass
class House:
    """Everything that lives as long as the app."""

    database: Database
    pictures: PictureStore
    history: HistoryStore
    retention: Retention
    worker: Worker
    classifier: Classifier
    bulk: BulkRunner
    own_jobs: OwnJobs
    metrics: Metrics
    passwords: Passwords
    accounts: Accounts
    trainings: Trainings
    doubts: Doubts
    loop: asyncio.AbstractEventLoop | None = None

    def drain(self) -> None:
        """Refuse what is new. Safe to call from a signal handler."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.classifier.drain)
            self.loop.call_soon_threadsafe(self.bulk.drain)


class Glimt(Starlette):
    """Starlette with our middleware outside its own last resort, whose 500 must carry a request id as well."""

    def __init__(self, observe: ObserveRequest, house: House, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False  # a redirect would repeat whatever Host header came
        self.house = house
        self._observe = observe
        self._settings = settings

    def build_middleware_stack(self) -> ASGIApp:
        app = open_to(self._settings.origins, super().build_middleware_stack())
        return RequestLog(SecurityHeaders(Hosts(app, self._settings.hosts)), self._observe)


def create_accounts_app(settings: Settings) -> Starlette:
    """The routes about accounts alone, on the same database: for `glimt users` where no service runs.

    Blocking. Raises StartError.
    """
    database, pictures = Database(settings.data_path / "glimt.db"), PictureStore(settings.data_path / "pictures")
    passwords = Passwords()
    accounts = make_accounts(settings, database, passwords)
    jobs = JobStore(database)
    forget = partial(remove_job, jobs, settings.data_path / "jobs")
    belongings = make_belongings(settings, database, pictures, HistoryStore(database), jobs, forget)
    endpoints = AccountEndpoints(accounts, belongings, registers=settings.registers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database, pictures, passwords:
            yield

    return Starlette(
        routes=make_account_routes(make_gate(settings, accounts), endpoints),
        exception_handlers={GlimtError: Problems(make_templates(WEB)).on_glimt_error},
        lifespan=lifespan,
    )


def create_app(
    settings: Settings,
    served: ServedModel,
    engine: Engine | None = None,
    *,
    passwords: Passwords | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_failed_start: Callable[[], None] = lambda: None,
    on_first_admin: Callable[[str, str], None] = lambda email, password: None,
) -> Glimt:
    """The ASGI app. `engine` computes instead of the one that `served`, or a version activated later, names.

    `passwords` hashes them; without it, at full strength.
    `on_ready` is called when the model answers for the first time, `on_failed_start` when it cannot be loaded; the log
    has the reason.
    `on_first_admin` is told e-mail and password of the admin that is made when one is needed and there is none.

    Blocking. Raises StartError.
    """
    if settings.demo_account and (settings.origins or not settings.is_local):
        raise StartError(
            "The demo account's password is known to everybody: with it the service must be reachable from this "
            "machine only. Leave out --demo-account (GLIMT_DEMO_ACCOUNT), or listen on a loopback address (--host "
            "127.0.0.1) and name neither proxies (GLIMT_FORWARDED_ALLOW_IPS), nor other names (GLIMT_ALLOWED_HOSTS), "
            "nor other sites (GLIMT_CORS_ORIGINS). For an admin of your own: "
            "glimt users create EMAIL --name NAME --role admin."
        )
    metrics = Metrics()
    database = Database(settings.data_path / "glimt.db")
    pictures = PictureStore(settings.data_path / "pictures")
    feedback = FeedbackStore(database)

    def serving_of(served: ServedModel) -> Serving:
        serving = make_serving(served, settings)
        return serving if engine is None else replace(serving, engine=lambda: engine, keras=None)

    worker = make_worker(serving_of(served), settings)
    classifier = Classifier(
        worker,
        settings,
        observe_batch=metrics.observe_batch,
        observe_receipt=metrics.observe_receipt,
        keep_picture=pictures.keep_quietly if settings.keep_images == "all" else None,
    )
    activation = Activation(settings, worker, classifier.shadow, serving_of, classifier.draining)
    metrics.watch(classifier.stats, lambda: classifier.model, lambda: classifier.status == "ready")
    metrics.watch_models(worker.totals, classifier.shadow.totals)
    sizes = {"tasks": lambda: len(asyncio.all_tasks()), "cache_entries": lambda: classifier.kept}
    metrics.watch_sizes(sizes | {"held_bytes": lambda: classifier.memory.held})
    passwords, history = passwords or Passwords(), HistoryStore(database)
    accounts = make_accounts(settings, database, passwords)
    jobs = JobStore(database)
    bulk = make_bulk_runner(settings, jobs, classifier)
    belongings = make_belongings(settings, database, pictures, history, jobs, bulk.forget)
    retention = Retention(partial(belongings.expire, settings.history_days), partial(bulk.expire, settings.job_days))
    own_jobs = make_own_jobs(settings, jobs, bulk, classifier)
    trainings = Trainings(settings, feedback, pictures)
    doubts = Doubts(ReviewStore(database), pictures, belongings.forget, most=settings.reviewed_pictures)
    house = House(
        database, pictures, history, retention, worker, classifier, bulk, own_jobs, metrics, passwords, accounts,
        trainings, doubts,
    )  # fmt: skip

    templates = make_templates(WEB)
    problems = Problems(templates)
    notes = FeedbackEndpoints(feedback, pictures, belongings)
    note = noting_all(noting(history) if settings.history_days else note_nothing, doubting(doubts))
    classify = Classify(classifier, settings, note)
    gate = make_gate(settings, accounts)
    models = ModelEndpoints(activation, classifier, own_jobs.inbox)
    desk = TrainerDesk(trainings, own_jobs.inbox)
    pile = ReviewDesk(feedback, doubts.review, pictures, trainings, activation.differences, settings.retrain_after)
    desks = Desks(
        account_pages=AccountPages(house.accounts, belongings, templates, settings),
        accounts=AccountEndpoints(house.accounts, belongings, registers=settings.registers),
        batching=Batching(classifier),
        classify=classify,
        docs=Docs(classifier, templates, login_required=settings.login_required),
        explain=Explain(classifier, Explainer().explain, settings),
        feedback=notes,
        history=HistoryEndpoints(history, belongings, pictures, classifier, classify, templates, settings),
        jobs=JobEndpoints(own_jobs),
        models=models,
        model_pages=ModelPages(models, activation, classifier, templates),
        job_pages=JobPages(own_jobs, feedback, classifier, templates, settings),
        operations=Operations(classifier, metrics),
        ops=Ops(classifier, metrics, templates),
        pages=Pages(classifier, feedback, notes, pictures, templates, settings, WEB, note, own_jobs.picture),
        people_pages=PeoplePages(house.accounts, belongings, templates),
        reference=ReferenceA(classifier, settings, note),
        review=ReviewPages(pile, desk, feedback, belongings, pictures, classifier, templates, settings),
        training=TrainingEndpoints(desk),
        training_pages=TrainingPages(desk, activation, classifier, feedback, templates, settings),
    )
    return Glimt(
        metrics.observe_request,
        house,
        settings,
        routes=make_routes(gate, desks, WEB),
        exception_handlers={
            GlimtError: problems.on_glimt_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_unknown,
        },
        lifespan=lambda app: _lifespan(
            house, lambda: first_accounts(settings, accounts, on_first_admin), on_ready, on_failed_start
        ),
    )


@asynccontextmanager
async def _lifespan(
    house: House,
    make_first_accounts: Callable[[], Awaitable[None]],
    on_ready: Callable[[], None],
    on_failed_start: Callable[[], None],
) -> AsyncIterator[None]:
    house.loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house.database)
        await stack.enter_async_context(house.pictures)
        await stack.enter_async_context(house.history)
        await stack.enter_async_context(house.doubts)
        await stack.enter_async_context(house.passwords)
        await make_first_accounts()
        await stack.enter_async_context(house.worker)
        await stack.enter_async_context(house.classifier)
        await stack.enter_async_context(house.bulk)
        await stack.enter_async_context(house.own_jobs.inbox)
        await stack.enter_async_context(house.own_jobs.pictures)
        await stack.enter_async_context(house.retention)
        await stack.enter_async_context(house.trainings)
        starting = _watch_start(house.worker, on_ready, on_failed_start)
        for task in (starting, house.metrics.probe_lag(), give_back_forever()):
            stack.callback(asyncio.create_task(task).cancel)
        yield


async def _watch_start(worker: Worker, on_ready: Callable[[], None], on_failed_start: Callable[[], None]) -> None:
    try:
        await worker.loaded()
        on_ready()
    except GlimtError as error:
        log.critical("%s: %s", error.title, error.detail)
        on_failed_start()
    except Exception:
        log.critical("the engine could not be loaded", exc_info=True)
        on_failed_start()
