"""The fields of forms, and what pages read of a query, for the OpenAPI document only: handlers read them one by one.

Tests send the examples. What a handler does not know it passes over.
"""

from pydantic import BaseModel, Field

from service.accounts.passwords import MAX_CHARS as MAX_PASSWORD_CHARS
from service.accounts.passwords import MIN_CHARS as MIN_PASSWORD_CHARS
from service.http.documents import EMAIL, Absent, example
from service.store.feedback import MAX_CHARS, Verdict
from service.store.tokens import MAX_NAME_CHARS as MAX_TOKEN_NAME_CHARS
from service.store.users import MAX_EMAIL_CHARS, MAX_NAME_CHARS, Role


class LoginForm(BaseModel):
    """Signing in, as OAuth2's password form says it."""

    model_config = example({"username": "ada@example.org", "password": "correct horse"})

    username: str = Field(min_length=1, max_length=MAX_EMAIL_CHARS, description="The e-mail address.")
    password: str = Field(min_length=1, max_length=MAX_PASSWORD_CHARS)


class PictureForm(BaseModel):
    """Pictures, each a part of its own: one for a JSON answer, several for a stream."""

    file: list[bytes] = Field(min_length=1, description="Any part with a file name is taken, whatever its field name.")


class OnePictureForm(BaseModel):
    """One picture, whose file name ends in .png, .jpg, .jpeg or .gif."""

    file: bytes


class PageForm(BaseModel):
    """The page's form: pictures, or the name of an example."""

    model_config = example({"example": "digit-7"})

    file: list[bytes] | Absent = Field(None, max_length=9)
    example: str | Absent = Field(None, description="One of the examples the page shows, instead of a picture.")


class CardAbout(BaseModel):
    """The hidden fields of a card: what its answer was. Undoing only carries them on."""

    model_config = example({"predicted_class": "Eskimo_dog", "score": "0.9346", "image_file_name": "dog.jpeg"})

    predicted_class: str = ""
    score: str = ""
    image_sha256: str = ""
    image_file_name: str = ""
    model_name: str = ""
    model_version: str = ""
    job: str | Absent = None
    position: str | Absent = None


class CardFeedback(BaseModel):
    """A card's feedback form."""

    model_config = example(
        {
            "predicted_class": "Eskimo_dog",
            "score": 0.9346,
            "image_file_name": "dog.jpeg",
            "verdict": "wrong",
            "correct_label": "Siberian_husky",
        }
    )

    predicted_class: str = Field(min_length=1, max_length=MAX_CHARS["predicted_class"])
    score: float = Field(ge=0, le=1)
    image_file_name: str = Field(min_length=1, max_length=MAX_CHARS["image_file_name"])
    image_sha256: str | Absent = Field(None, pattern=r"^[0-9a-f]{64}$")
    model_name: str | Absent = Field(None, max_length=MAX_CHARS["model_name"])
    model_version: str | Absent = Field(None, max_length=MAX_CHARS["model_version"])
    verdict: Verdict
    correct_label: str | Absent = Field(None, max_length=MAX_CHARS["correct_label"], description="With verdict wrong.")
    comment: str | Absent = Field(None, max_length=MAX_CHARS["comment"])
    idempotency_key: str | Absent = Field(None, max_length=MAX_CHARS["idempotency_key"])
    file: bytes | Absent = Field(None, description="The picture, to be kept; its SHA-256 must be image_sha256.")
    job: str | Absent = Field(None, description="Without the picture: the bulk job whose archive has it,")
    position: str | Absent = Field(None, description="and its position there.")


class LabelsQuery(BaseModel):
    """The typeahead's query."""

    q: str = Field("", description="Part of a label.", examples=["retr"])


class NextQuery(BaseModel):
    """Where to go on afterwards."""

    next: str = Field("/", description="A path of this service; anything else is passed over.", examples=["/ops"])


class PeopleQuery(BaseModel):
    """Which page of people."""

    after: str = Field("", description="The id of the last one on the page before.", examples=["100"])


class SignInForm(BaseModel):
    """The page's way in."""

    model_config = example({"email": "ada@example.org", "password": "correct horse"})

    email: str = Field(min_length=1)
    password: str = Field(min_length=1)
    next: str | Absent = Field(None, description="Where to go on: a path of this service.")


class SignUpForm(BaseModel):
    """An account for oneself."""

    model_config = example({"name": "Grace", "email": "grace@example.org", "password": "a long sentence"})

    name: str = Field(min_length=2, max_length=MAX_NAME_CHARS)
    email: str = Field(max_length=MAX_EMAIL_CHARS, json_schema_extra=EMAIL)
    password: str = Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)
    next: str | Absent = Field(None, description="Where to go on: a path of this service.")


class PasswordForm(BaseModel):
    """One's own password, changed."""

    model_config = example({"old": "correct horse", "new": "battery staple"})

    old: str
    new: str = Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)


class TokenForm(BaseModel):
    """A new personal token."""

    model_config = example({"name": "nightly run", "days": "90"})

    name: str = Field(min_length=1, max_length=MAX_TOKEN_NAME_CHARS)
    days: str | Absent = Field(None, pattern="^[0-9]{0,4}$", description="Until it expires; empty is never.")


class DeletionForm(BaseModel):
    """One's own account, deleted."""

    model_config = example({"password": "correct horse"})

    password: str


class PersonForm(BaseModel):
    """An account for somebody else."""

    model_config = example({"name": "Grace", "email": "grace@example.org", "role": "user"})

    name: str = Field(min_length=2, max_length=MAX_NAME_CHARS)
    email: str = Field(max_length=MAX_EMAIL_CHARS, json_schema_extra=EMAIL)
    role: Role | Absent = None


class RoleForm(BaseModel):
    """What somebody may do."""

    model_config = example({"role": "admin"})

    role: Role
