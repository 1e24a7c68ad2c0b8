"""The parts of the service, each made of the settings and of what it is handed. Opens and starts nothing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from service.accounts.accounts import Accounts
from service.accounts.keys import Signer, read_or_make_key
from service.accounts.passwords import Passwords
from service.accounts.rates import Rate
from service.bulk.directory import ArchiveLimits
from service.bulk.pictures import JobPictures
from service.bulk.runner import WINDOW, BulkRunner
from service.bulk.upload import Inbox
from service.http.access import Gate
from service.http.own_jobs import OwnJobs
from service.inference.calibration import curve_file
from service.inference.classifier import Classifier
from service.inference.engines.choice import sees_gpu
from service.inference.engines.engine import Engine
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import prepare_once
from service.inference.engines.tensorflow import TensorFlowEngine
from service.inference.images import Limits
from service.inference.serving import KerasSource, Serving
from service.inference.worker import Worker
from service.models.served import ServedModel
from service.settings import Settings
from service.store.belongings import Belongings
from service.store.database import Database
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.job_rows import Job
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.review import ReviewStore
from service.store.tokens import TokenStore
from service.store.users import UserStore

INT8_TOLERANCE = 0.02
"""How far an int8 probability may be on another processor from where it was quantized: their kernels round unlike."""


def make_engine(served: ServedModel, settings: Settings) -> Engine:
    """The engine for this model, not yet loaded."""
    if served.prepared is not None:
        folder = served.prepared
        way_out = "Quantize again on this machine: glimt quantize; or serve the float32 model."
        return OpenVINOEngine(lambda: folder, served.input, tolerance=INT8_TOLERANCE, way_out=way_out)
    build, weights, cache = served.architecture.build, served.weights_file, settings.data_path / "cache"
    if served.info.engine == "openvino":
        return OpenVINOEngine(partial(prepare_once, "openvino", build, weights, served.input, cache), served.input)
    prepare = partial(prepare_once, "tensorflow", build, weights, served.input, cache)
    return TensorFlowEngine(prepare, served.input, parts=1 if sees_gpu() else 2)


def make_serving(served: ServedModel, settings: Settings) -> Serving:
    """This model as one that can answer: to start with, or for worker.swap."""
    return Serving(
        engine=lambda: make_engine(served, settings),
        model=served.info,
        classes=served.classes,
        input=served.input,
        curve_file=curve_file(settings.data_path, served.info),
        notice=served.public,
        brief=served.brief,
        details=served.notice,
        keras=None if served.prepared else KerasSource(served.architecture.build, served.weights_file),
    )


def make_worker(serving: Serving, settings: Settings) -> Worker:
    """What will load this model and run its batches."""
    return Worker(
        serving,
        max_batch=None if settings.max_batch == "auto" else settings.max_batch,
        timeout_s=settings.engine_timeout_s,
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
    return BulkRunner(jobs, classifier, settings.data_path / "jobs", limits, allowed=settings.job_roots, places=places)


def make_own_jobs(settings: Settings, jobs: JobStore, bulk: BulkRunner, classifier: Classifier) -> OwnJobs:
    """What comes in as jobs, and what is seen of them."""
    inbox = Inbox(
        jobs,
        bulk,
        settings.data_path / "jobs",
        classifier.draining,
        max_bytes=settings.max_zip_bytes,
        max_kept_bytes=settings.max_job_bytes,
        max_jobs=settings.max_jobs,
        allowed=settings.job_roots,
    )
    pictures = JobPictures(bulk)
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
    review = ReviewStore(database)
    return Belongings(users, tokens, feedback, history, pictures, settings.keep_images, jobs, forget_job, review)


def make_gate(settings: Settings, accounts: Accounts) -> Gate:
    """What every route asks first."""
    return Gate(
        accounts,
        login_required=settings.login_required,
        rate_account=Rate(settings.rate_account, "requests of one account"),
        rate_address=Rate(settings.rate_address, "requests from one address"),
        origins=settings.origins,
    )
