"""The shapes of answers about accounts and tokens, for the OpenAPI document only, as in documents.py."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.http.documents import example
from service.store.users import Role


class AccessToken(BaseModel):
    """A JWT, to be sent as `Authorization: Bearer`."""

    model_config = example({"access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln", "token_type": "bearer"})

    access_token: str
    token_type: Literal["bearer"]


class Account(BaseModel):
    """An account. No answer ever holds a password or its hash."""

    model_config = example(
        {
            "id": 1,
            "name": "Ada",
            "email": "ada@example.org",
            "role": "user",
            "created_at": "2026-11-21T09:00:00.123456Z",
        }
    )

    id: int
    name: str
    email: str
    role: Role
    created_at: datetime


class MadePassword(BaseModel):
    """The password that is in force now."""

    model_config = example({"password": "kvm3q-8tz2x-hw4pa-c9jd7"})

    password: str


A_TOKEN = {
    "id": 1,
    "name": "nightly run",
    "created_at": "2026-11-21T09:00:00.123456Z",
    "last_used_at": None,
    "expires_at": "2027-02-19T09:00:00.123456Z",
}


class PersonalToken(BaseModel):
    """A personal token, without its secret."""

    model_config = example(A_TOKEN)

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


class MadeToken(PersonalToken):
    """A personal token with its secret, which is never shown again."""

    model_config = example(A_TOKEN | {"token": "glimt_Zr6bBq0Qk2mCw1o3"})

    token: str


class ExportLine(BaseModel):
    """A line of one's own data; the other members are those of its type. Without the line `end` it is not whole."""

    model_config = ConfigDict(extra="allow") | example({"type": "end", "done": True})

    type: Literal["account", "session", "token", "feedback", "prediction", "job", "end"]
