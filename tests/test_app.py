"""The app's construction: what is warmed up, what every answer carries, and what the metrics say."""

from pathlib import Path
from typing import Any

import pytest

from service.accounts.accounts import DEMO_EMAIL, DEMO_PASSWORD
from service.accounts.first import FIRST_ADMIN
from service.app import create_app
from service.errors import StartError, Unauthorized
from service.inference.engine_thread import warm_up_sizes
from service.settings import Settings
from service.store.users import User
from tests.fakes import GatedEngine
from tests.world import PASSWORD, in_process, make_app, operator, png, served, signed_in


@pytest.mark.parametrize(
    ("max_batch", "sizes"),
    [(1, [1]), (3, [1, 2, 3]), (16, list(range(1, 17))), (64, [*range(1, 17), 24, 32, 40, 48, 56, 64])],
)
def test_every_likely_batch_size_is_warmed_up(max_batch: int, sizes: list[int]) -> None:
    """Up to 16 each one; beyond, eighths."""
    assert warm_up_sizes(max_batch) == sizes


async def test_warm_up_happens_before_ready(tmp_path: Path) -> None:
    """The engine has run them all when /readyz says 200."""
    engine = GatedEngine()
    async with in_process(make_app(tmp_path, engine, max_batch=4)) as client:
        assert (await client.get("/readyz")).status_code == 200
    assert engine.warmed == [1, 2, 3, 4]


async def test_liveness_readiness_and_details(tmp_path: Path) -> None:
    """Alive always; ready until the drain; details tell what is served."""
    app = make_app(tmp_path, notice="Only a test.")
    async with in_process(app) as client:
        details = (await client.get("/health")).json()
        app.house.classifier.drain()
        ready, alive = await client.get("/readyz"), await client.get("/healthz")
        draining = (await client.get("/health")).json()
    assert (details["status"], details["model"]["status"], details["model"]["name"]) == ("ok", "ready", "fake")
    assert details["notice"] == "Only a test."
    assert details["queue"]["max_batch"] == 16
    assert (ready.status_code, ready.headers["Retry-After"], alive.status_code) == (503, "5", 200)
    assert draining["status"] == "draining"


async def test_only_an_admin_is_told_where_files_were_looked_for(tmp_path: Path) -> None:
    """Everybody read the server's paths on the page and in /health: now the reason alone, without them."""
    app = make_app(tmp_path, notice="None in /srv/weights.", plain="There is none.")
    async with in_process(app) as client:
        someone = await signed_in(app)
        for headers, told, kept in (
            ({}, "There is none.", "/srv"),
            (someone, "There is none.", "/srv"),
            (operator(tmp_path), "None in /srv/weights.", "There is none."),
        ):
            health = (await client.get("/health", headers=headers)).json()["notice"]
            page = (await client.get("/", headers=headers)).text
            assert health == told
            assert told in page
            assert kept not in page


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """Requests by route and status, batches by reason, stages, cache, ends, the model."""
    async with in_process(make_app(tmp_path)) as client:
        for data in (png(1), png(1), png(2), b"not a picture"):
            await client.post("/predict", content=data)
        await client.request("BREW", "/nowhere")
        text = (await client.get("/metrics")).text
    for line in (
        'glimt_requests_total{method="POST",route="/predict",status="200"} 3.0',
        'glimt_requests_total{method="POST",route="/predict",status="415"} 1.0',
        'glimt_requests_total{method="other",route="unmatched",status="404"} 1.0',
        'glimt_batches_released_total{reason="idle"} 2.0',
        "glimt_batch_size_count 2.0",
        "glimt_infer_seconds_count 2.0",
        "glimt_total_seconds_count 3.0",
        'glimt_cache_total{result="hit"} 1.0',
        "glimt_queue_depth 0.0",
        "glimt_predict_refused_total 0.0",
        "glimt_ready 1.0",
        'glimt_model{engine="gated",name="fake",version="1",weights="none"} 1.0',
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("path", ["/", "/health", "/static/app.css", "/nothing", "/predict", "/feedback/"])
async def test_every_answer_carries_id_and_security_headers(tmp_path: Path, path: str) -> None:
    """T40: also the errors."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.get(path)
    assert len(answer.headers["X-Request-ID"]) == 32
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def started(folder: Path, **changes: Any) -> tuple[list[tuple[str, str]], list[User]]:
    """Start and stop: the admins that were told, with their passwords, and the accounts there are then."""
    told: list[tuple[str, str]] = []
    settings = Settings(data_dir=folder, **changes)
    app = create_app(settings, served(), GatedEngine(), on_first_admin=lambda *admin: told.append(admin))
    async with in_process(app):
        for email, password in told:
            await app.house.accounts.sign_in(email, password, "here")
        return told, [user async for user in app.house.accounts.list()]


async def test_the_first_admin_is_made_once(tmp_path: Path) -> None:
    """Where everybody needs an account: told once, with a password that holds and that no second start tells."""
    told, _ = await started(tmp_path, auth="required")
    again, users = await started(tmp_path, auth="required")
    assert [email for email, _ in told] == [FIRST_ADMIN]
    assert again == []
    assert [(user.email, user.role) for user in users] == [(FIRST_ADMIN, "admin")]


async def test_an_open_service_makes_nobody(tmp_path: Path) -> None:
    """Nobody needs an account there."""
    assert await started(tmp_path) == ([], [])


async def test_an_admin_that_is_there_is_enough(tmp_path: Path) -> None:
    """Whoever made one before the first start is asked nothing."""
    app = make_app(tmp_path)
    async with in_process(app):
        await app.house.accounts.create(name="Ada", email="ada@example.org", password=PASSWORD, role="admin")
    told, users = await started(tmp_path, auth="required")
    assert (told, len(users)) == ([], 1)


async def test_an_address_that_somebody_took(tmp_path: Path) -> None:
    """Registered while anybody could: that account gets nothing, the admin gets another address."""
    app = make_app(tmp_path)
    async with in_process(app):
        await app.house.accounts.create(name="Mallory", email=FIRST_ADMIN, password=PASSWORD)
    told, users = await started(tmp_path, auth="required")
    assert [user.role for user in users] == ["user", "admin"]
    assert told[0][0] == users[1].email != FIRST_ADMIN


async def test_the_demo_account_lives_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    """Off again, the account stays, but not with a password that everybody knows; on again, it works again."""
    for wanted in (True, False, True):
        app = make_app(tmp_path, demo_account=wanted)
        async with in_process(app):
            if wanted:
                assert (await app.house.accounts.sign_in(DEMO_EMAIL, DEMO_PASSWORD, "here")).role == "admin"
            else:
                with pytest.raises(Unauthorized):
                    await app.house.accounts.sign_in(DEMO_EMAIL, DEMO_PASSWORD, "here")


async def test_the_demo_account_is_the_first_admin(tmp_path: Path) -> None:
    """On a loopback address where accounts are needed no other is made beside it."""
    told, users = await started(tmp_path, auth="required", demo_account=True)
    assert (told, [user.email for user in users]) == ([], [DEMO_EMAIL])


@pytest.mark.parametrize(
    "reach",
    [{"host": host} for host in ("0.0.0.0", "::", "192.0.2.1", "example.org")]
    + [{"forwarded_allow_ips": "127.0.0.1"}, {"allowed_hosts": "pictures.example"}, {"cors_origins": "*"}],
)
def test_a_password_that_everybody_knows_stays_on_this_machine(tmp_path: Path, reach: dict[str, Any]) -> None:
    """The start refuses, and says what else to do, before anything is made."""
    with pytest.raises(StartError, match=r"this machine only.*GLIMT_DEMO_ACCOUNT.*127\.0\.0\.1.*glimt users create"):
        make_app(tmp_path, demo_account=True, **reach)
    assert list(tmp_path.iterdir()) == []
