"""create_app(): the route table, the error table, one lifespan. With cli.py the only place that constructs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.accounts.accounts import Accounts
from service.accounts.keys import Signer, read_or_make_key
from service.accounts.passwords import Passwords, random_password
from service.accounts.rates import Rate
from service.bulk.directory import ArchiveLimits
from service.bulk.pictures import JobPictures
from service.bulk.runner import WINDOW, BulkRunner
from service.bulk.runner import remove as remove_job
from service.bulk.upload import Inbox
from service.errors import EmailTaken, GlimtError, StartError
from service.http.access import Gate
from service.http.account_pages import AccountPages
from service.http.accounts import AccountEndpoints
from service.http.batching import Batching
from service.http.classify import Classify, note_nothing
from service.http.cors import open_to
from service.http.docs import Docs
from service.http.feedback import FeedbackEndpoints
from service.http.history import HistoryEndpoints, noting
from service.http.hosts import Hosts
from service.http.job_pages import JobPages
from service.http.jobs import JobEndpoints
from service.http.middleware import ObserveRequest, RequestLog, SecurityHeaders
from service.http.operations import Operations
from service.http.ops import Ops
from service.http.own_jobs import OwnJobs
from service.http.pages import Pages
from service.http.people_pages import PeoplePages
from service.http.presentation import make_templates
from service.http.problems import Problems
from service.http.reference import ReferenceA
from service.http.routes import Desks, make_account_routes, make_routes
from service.inference.calibration import curve_file
from service.inference.classifier import Classifier
from service.inference.engines.choice import sees_gpu
from service.inference.engines.engine import Engine
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import prepare_once
from service.inference.engines.tensorflow import TensorFlowEngine
from service.inference.images import Limits
from service.inference.worker import Worker
from service.metrics import Metrics
from service.models.served import ServedModel
from service.settings import Settings
from service.store.belongings import Belongings
from service.store.database import Database
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.jobs import Job, JobStore
from service.store.pictures import PictureStore
from service.store.retention import Retention
from service.store.tokens import TokenStore
from service.store.users import UserStore

log = logging.getLogger(__name__)

INT8_TOLERANCE = 0.02
"""How far an int8 probability may be on another processor from where it was quantized: their kernels round unlike."""
FIRST_ADMIN = "admin@localhost"
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


def make_engine(served: ServedModel, settings: Settings) -> Engine:
    """The engine for this model, not yet loaded."""
    if served.prepared is not None:
        folder = served.prepared
        way_out = "Quantize again on this machine: glimt quantize --replace; or serve the float32 model."
        return OpenVINOEngine(lambda: folder, served.input, tolerance=INT8_TOLERANCE, way_out=way_out)
    build, weights, cache = served.architecture.build, served.weights_file, settings.data_path / "cache"
    if served.info.engine == "openvino":
        return OpenVINOEngine(partial(prepare_once, "openvino", build, weights, served.input, cache), served.input)
    prepare = partial(prepare_once, "tensorflow", build, weights, served.input, cache)
    return TensorFlowEngine(prepare, served.input, parts=1 if sees_gpu() else 2)


def make_worker(engine: Engine, served: ServedModel, settings: Settings) -> Worker:
    """The thread that will own the engine."""
    return Worker(
        engine,
        served.info,
        classes=len(served.classes),
        input_size=served.input.size,
        max_batch=None if settings.max_batch == "auto" else settings.max_batch,
        curve_file=curve_file(settings.data_path, served.info),
    )


def make_accounts(settings: Settings, database: Database, passwords: Passwords) -> Accounts:
    """The accounts, and the key that signs for them, made if there is none. Blocking. Raises StartError."""
    return Accounts(
        UserStore(database),
        TokenStore(database),
        passwords,
        Signer(read_or_make_key(settings.data_path)),
        login_rate=Rate(settings.login_rate, "wrong passwords for one account from one address"),
        address_rate=Rate(settings.login_rate_address, "wrong passwords and new accounts from one address"),
        session_life=timedelta(days=settings.session_days),
    )


def make_bulk_runner(settings: Settings, jobs: JobStore, classifier: Classifier) -> BulkRunner:
    """The runner of bulk jobs. Their pictures take at most half of the queue."""
    limits = ArchiveLimits(max_member_bytes=settings.max_image_bytes)
    places = min(WINDOW, max(1, settings.max_pending // 2))
    return BulkRunner(jobs, classifier, settings.data_path / "jobs", limits, places=places)


def make_own_jobs(settings: Settings, jobs: JobStore, bulk: BulkRunner, classifier: Classifier) -> OwnJobs:
    """What comes in as jobs, and what is seen of them."""
    inbox = Inbox(
        jobs,
        bulk,
        settings.data_path / "jobs",
        classifier.draining,
        max_bytes=settings.max_zip_bytes,
        max_jobs=settings.max_jobs,
    )
    pictures = JobPictures(bulk, ArchiveLimits(max_member_bytes=settings.max_image_bytes))
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    return OwnJobs(jobs, bulk, inbox, pictures, limits, lambda: classifier.classes)


def make_belongings(
    settings: Settings,
    database: Database,
    pictures: PictureStore,
    history: HistoryStore,
    jobs: JobStore,
    forget_job: Callable[[Job], Awaitable[None]],
) -> Belongings:
    """What accounts own."""
    users, tokens, feedback = UserStore(database), TokenStore(database), FeedbackStore(database)
    return Belongings(users, tokens, feedback, history, pictures, settings.keep_images, jobs, forget_job)


def make_gate(settings: Settings, accounts: Accounts) -> Gate:
    """What every route asks first."""
    return Gate(
        accounts,
        login_required=settings.login_required,
        rate_account=Rate(settings.rate_account, "requests of one account"),
        rate_address=Rate(settings.rate_address, "requests from one address"),
        origins=settings.origins,
    )


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
    engine: Engine,
    *,
    on_failed_start: Callable[[], None] = lambda: None,
    on_first_admin: Callable[[str, str], None] = lambda email, password: None,
) -> Glimt:
    """The ASGI app. `on_failed_start` is called when the engine cannot load its model; the log has the reason.
    `on_first_admin` is told e-mail and password of the admin that is made when one is needed and there is none.

    Blocking. Raises StartError.
    """
    if settings.demo_account and (settings.forwarded_allow_ips or settings.origins or not settings.is_loopback):
        raise StartError(
            "The demo account's password is known to everybody: with it the service must be reachable from this "
            "machine only. Leave out --demo-account (GLIMT_DEMO_ACCOUNT), or listen on a loopback address (--host "
            "127.0.0.1) and name neither proxies (GLIMT_FORWARDED_ALLOW_IPS) nor other sites (GLIMT_CORS_ORIGINS). For "
            "an admin of your own: glimt users create EMAIL --name NAME --role admin."
        )
    metrics = Metrics()
    database = Database(settings.data_path / "glimt.db")
    pictures = PictureStore(settings.data_path / "pictures")
    feedback = FeedbackStore(database)
    worker = make_worker(engine, served, settings)
    classifier = Classifier(
        worker,
        served.classes,
        served.input,
        settings,
        observe_batch=metrics.observe_batch,
        observe_receipt=metrics.observe_receipt,
        keep_picture=pictures.keep_quietly if settings.keep_images == "all" else None,
    )
    metrics.watch(classifier.stats, lambda: classifier.model, lambda: classifier.status == "ready")
    passwords, history = Passwords(), HistoryStore(database)
    accounts = make_accounts(settings, database, passwords)
    jobs = JobStore(database)
    bulk = make_bulk_runner(settings, jobs, classifier)
    belongings = make_belongings(settings, database, pictures, history, jobs, bulk.forget)
    retention = Retention(partial(belongings.expire, settings.history_days), partial(bulk.expire, settings.job_days))
    own_jobs = make_own_jobs(settings, jobs, bulk, classifier)
    house = House(
        database, pictures, history, retention, worker, classifier, bulk, own_jobs, metrics, passwords, accounts
    )

    templates = make_templates(WEB)
    problems = Problems(templates)
    notes = FeedbackEndpoints(feedback, pictures, belongings)
    note = noting(history) if settings.history_days else note_nothing
    classify = Classify(classifier, settings, served.brief, note)
    gate = make_gate(settings, accounts)
    desks = Desks(
        account_pages=AccountPages(house.accounts, belongings, templates, settings),
        accounts=AccountEndpoints(house.accounts, belongings, registers=settings.registers),
        batching=Batching(classifier),
        classify=classify,
        docs=Docs(classifier, templates, served.notice, login_required=settings.login_required),
        feedback=notes,
        history=HistoryEndpoints(
            history, belongings, pictures, classifier, classify, templates, settings, served.notice
        ),
        jobs=JobEndpoints(own_jobs),
        job_pages=JobPages(own_jobs, classifier, templates, settings, served.notice),
        operations=Operations(classifier, metrics, served.notice),
        ops=Ops(classifier, metrics, templates, served.notice),
        pages=Pages(
            classifier, feedback, notes, pictures, templates, settings, served.notice, WEB, note, own_jobs.picture
        ),
        people_pages=PeoplePages(house.accounts, belongings, templates),
        reference=ReferenceA(classifier, settings, served.brief, note),
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
            house, lambda: _first_accounts(settings, accounts, on_first_admin), on_failed_start
        ),
    )


@asynccontextmanager
async def _lifespan(
    house: House, first_accounts: Callable[[], Awaitable[None]], on_failed_start: Callable[[], None]
) -> AsyncIterator[None]:
    house.loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house.database)
        await stack.enter_async_context(house.pictures)
        await stack.enter_async_context(house.history)
        await stack.enter_async_context(house.passwords)
        await first_accounts()
        await stack.enter_async_context(house.worker)
        await stack.enter_async_context(house.classifier)
        await stack.enter_async_context(house.bulk)
        await stack.enter_async_context(house.own_jobs.inbox)
        await stack.enter_async_context(house.own_jobs.pictures)
        await stack.enter_async_context(house.retention)
        for task in (_watch_start(house.worker, on_failed_start), house.metrics.probe_lag()):
            stack.callback(asyncio.create_task(task).cancel)
        yield


async def _first_accounts(settings: Settings, accounts: Accounts, on_first_admin: Callable[[str, str], None]) -> None:
    """The demo account as it is wanted; and where accounts are needed, somebody who can make them."""
    await accounts.prepare_demo(settings.demo_account)
    if not settings.login_required or not await accounts.needs_admin():
        return
    password = random_password()
    for email in (FIRST_ADMIN, f"admin-{token_hex(4)}@localhost"):  # anybody may have registered the first one
        with suppress(EmailTaken):
            await accounts.create(name="Admin", email=email, password=password, role="admin")
            on_first_admin(email, password)
            return


async def _watch_start(worker: Worker, on_failed_start: Callable[[], None]) -> None:
    try:
        await worker.loaded()
    except GlimtError as error:
        log.critical("%s: %s", error.title, error.detail)
        on_failed_start()
    except Exception:
        log.critical("the engine could not be loaded", exc_info=True)
        on_failed_start()
