"""Reference system A's contract, line by line: what its clients send, and every status and field they look at.
POST /model/predict is in test_reference.py.

Where Glimt answers otherwise on purpose, the test's docstring begins with "Deviation".
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.reference_a import ADA, ADMIN, ReferenceClient, a_reference_client

SAID: dict[str, Any] = {
    "score": 0.9346,
    "predicted_class": "Eskimo_dog",
    "image_file_name": "0a7c757a80f2c5b13fa7a2a47a683593.jpeg",
    "feedback": "It is a Husky",
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ReferenceClient]:
    async with a_reference_client(tmp_path) as made:
        yield made


# POST /login


async def test_login_gives_a_bearer_token(world: ReferenceClient) -> None:
    """200 with access_token and token_type, and nothing else."""
    answer = await world.login(**ADMIN)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type"}
    assert answer.json()["token_type"] == "bearer"


async def test_login_takes_all_fields_of_an_oauth2_form(world: ReferenceClient) -> None:
    """A sends grant_type, scope, client_id and client_secret too, all empty."""
    empty = dict.fromkeys(("grant_type", "scope", "client_id", "client_secret"), "")
    assert (await world.login(**ADMIN, **empty)).status_code == 200


async def test_the_token_is_hs256_for_half_an_hour(world: ReferenceClient) -> None:
    """JWT HS256, 30 minutes."""
    token = (await world.login(**ADMIN)).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert claims["exp"] - claims["iat"] == 30 * 60


@pytest.mark.parametrize(
    "form", [ADMIN | {"password": "wrong"}, {"username": "nobody@example.com", "password": "admin"}]
)
async def test_bad_credentials_are_401(world: ReferenceClient, form: dict[str, str]) -> None:
    """Deviation: A answers 404, which says who has an account."""
    assert (await world.login(**form)).status_code == 401


async def test_a_login_without_its_fields_is_422(world: ReferenceClient) -> None:
    """The form must have username and password."""
    assert (await world.login(username="admin@example.com")).status_code == 422


# /user/


async def test_registering_is_201_and_the_account(world: ReferenceClient) -> None:
    """{id, name, email}; more fields are allowed."""
    created = await world.register()
    assert {"id", "name", "email"} <= created.keys()
    assert (created["name"], created["email"]) == (ADA["name"], ADA["email"])


async def test_a_new_account_can_log_in_and_is_no_admin(world: ReferenceClient) -> None:
    """What was registered works at once, for predictions but not for the accounts of others."""
    await world.register()
    ada = await world.bearer(ADA["email"], ADA["password"])
    assert (await world.predict(headers=ada)).status_code == 200
    assert (await world.client.get("/user/", headers=ada)).status_code == 403


async def test_registering_an_address_twice_is_400(world: ReferenceClient) -> None:
    """Also in other letters."""
    await world.register()
    answer = await world.client.post("/user/", json=ADA | {"email": "ADA@example.org"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        ADA | {"name": "A"},
        ADA | {"name": "A" * 51},
        ADA | {"email": "not an address"},
        {name: value for name, value in ADA.items() if name != "password"},
    ],
)
async def test_a_bad_account_is_422(world: ReferenceClient, body: dict[str, str]) -> None:
    """name 2 to 50 characters, an e-mail address, a password."""
    assert (await world.client.post("/user/", json=body)).status_code == 422


@pytest.mark.parametrize(("name", "status"), [("Al", 201), ("A" * 50, 201)])
async def test_a_name_at_its_limits_is_taken(world: ReferenceClient, name: str, status: int) -> None:
    """2 and 50 characters are allowed."""
    assert (await world.client.post("/user/", json=ADA | {"name": name})).status_code == status


async def test_a_password_of_seven_characters_is_422(world: ReferenceClient) -> None:
    """Deviation: A takes any password; ours have 8 characters at least, and the answer says so."""
    answer = await world.client.post("/user/", json=ADA | {"password": "seven77"})
    assert answer.status_code == 422
    assert "at least 8" in answer.json()["detail"]


async def test_the_demo_admin_does_what_as_admin_did(world: ReferenceClient) -> None:
    """List, read and delete any account; then it is gone."""
    created, admin = await world.register(), await world.bearer()
    path = f"/user/{created['id']}"
    assert created in (await world.client.get("/user/", headers=admin)).json()
    assert (await world.client.get(path, headers=admin)).json() == created
    deleted = await world.client.delete(path, headers=admin)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await world.client.get(path, headers=admin)).status_code == 404
    assert (await world.client.delete(path, headers=admin)).status_code == 404


async def test_no_answer_holds_a_password_or_its_hash(world: ReferenceClient) -> None:
    """Deviation: A returns the hashes of its users."""
    created, admin = await world.register(), await world.bearer()
    one = (await world.client.get(f"/user/{created['id']}", headers=admin)).json()
    for account in (created, one, *(await world.client.get("/user/", headers=admin)).json()):
        assert account.keys() == {"id", "name", "email", "role", "created_at"}


async def test_others_accounts_are_for_admins(world: ReferenceClient) -> None:
    """Deviation: with A anybody lists and deletes anybody. Here others are not there; one's own account is."""
    own, other = await world.register(), await world.register(email="bo@example.org")
    ada = await world.bearer(ADA["email"], ADA["password"])
    for method in ("GET", "DELETE"):
        assert (await world.client.request(method, f"/user/{other['id']}", headers=ada)).status_code == 404
    assert (await world.client.get(f"/user/{own['id']}", headers=ada)).json() == own
    assert (await world.client.delete(f"/user/{own['id']}", headers=ada)).status_code == 204


@pytest.mark.parametrize(("method", "path"), [("GET", "/user/"), ("GET", "/user/1"), ("DELETE", "/user/1")])
async def test_accounts_need_a_token(world: ReferenceClient, method: str, path: str) -> None:
    """401 without one."""
    assert (await world.client.request(method, path)).status_code == 401


# /feedback


@pytest.mark.parametrize("path", ["/feedback", "/feedback/"])
async def test_feedback_is_201_and_the_row(world: ReferenceClient, path: str) -> None:
    """The four fields come back."""
    answer = await world.client.post(path, json=SAID, headers=await world.bearer())
    assert answer.status_code == 201
    assert SAID.items() <= answer.json().items()


@pytest.mark.parametrize("missing", SAID)
async def test_feedback_without_one_of_its_fields_is_422(world: ReferenceClient, missing: str) -> None:
    """All four are needed."""
    said = {name: value for name, value in SAID.items() if name != missing}
    assert (await world.client.post("/feedback/", json=said, headers=await world.bearer())).status_code == 422


async def test_the_list_has_ones_own_feedback(world: ReferenceClient) -> None:
    """Each account sees its own rows, the admin too."""
    await world.register()
    admin, ada = await world.bearer(), await world.bearer(ADA["email"], ADA["password"])
    rows = [(await world.client.post("/feedback/", json=SAID, headers=who)).json() for who in (admin, ada)]
    lists = [(await world.client.get("/feedback/", headers=who)).json() for who in (admin, ada)]
    assert lists == [[rows[0]], [rows[1]]]


async def test_feedback_is_about_the_name_that_predict_gave(world: ReferenceClient) -> None:
    """A's client sends image_file_name, label and score back as it got them."""
    admin = await world.bearer()
    answer = (await world.predict(headers=admin)).json()
    said = {
        "score": answer["score"],
        "predicted_class": answer["prediction"],
        "image_file_name": answer["image_file_name"],
        "feedback": "fine",
    }
    assert (await world.client.post("/feedback/", json=said, headers=admin)).status_code == 201


# The demo account


async def test_without_the_setting_there_is_no_demo_account(tmp_path: Path) -> None:
    """admin@example.com with the password admin exists only where GLIMT_DEMO_ACCOUNT=1."""
    async with a_reference_client(tmp_path, demo_account=False) as world:
        assert (await world.login(**ADMIN)).status_code == 401
