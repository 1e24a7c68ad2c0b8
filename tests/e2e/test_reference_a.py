"""Reference system A's integration test as its contract has it: plain calls by address, its account, its pictures.

It is not A's own file. Only the port is another one: BASE there is http://localhost:8000.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from perf.serving import service
from service.inference.labels import ClassTable
from service.models.served import IMAGENET_CLASSES

SHARED = Path(__file__).parents[3] / "shared/data"
DOG = SHARED / "dog.jpeg"
MOBILENET = SHARED / "weights/mobilenet_v2_imagenet.weights.h5"
DIGIT = Path(__file__).parents[2] / "web/static/examples/digit-7.png"
DOGS = slice(151, 269)  # of the ImageNet classes

pytestmark = pytest.mark.slow


@contextmanager
def serving(data: Path, *model: str) -> Iterator[str]:
    """`GLIMT_DEMO_ACCOUNT=1 glimt serve --preprocess keras` in a process of its own; its BASE."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMT_DEMO_ACCOUNT", "1")
        with service([*model, "--preprocess", "keras"], data) as (_, port):
            yield f"http://localhost:{port}"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    (data / "cache").symlink_to(prepared)
    with serving(data, "--model", "demo") as address:
        yield address


def login(base: str, username: str, password: str) -> str | None:
    """The token, None when the credentials are refused."""
    form = {
        "grant_type": "",
        "username": username,
        "password": password,
        "scope": "",
        "client_id": "",
        "client_secret": "",
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    answer = httpx2.post(f"{base}/login", headers=headers, data=form)
    return answer.json()["access_token"] if answer.status_code == 200 else None


def predict(base: str, name: str, data: bytes, kind: str, token: str | None) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.post(f"{base}/model/predict", headers=headers, files=[("file", (name, data, kind))], timeout=60)


def test_login(base: str) -> None:
    """admin@example.com with the password admin gets a token; with another password none."""
    assert login(base, "admin@example.com", "admin")
    assert login(base, "admin@example.com", "nimda") is None


def test_predict(base: str) -> None:
    """A picture and the token: success, a class, a score of four decimals, the MD5 of its bytes."""
    answer = predict(base, "digit.PNG", DIGIT.read_bytes(), "image/png", login(base, "admin@example.com", "admin"))
    document = answer.json()
    assert answer.status_code == 200
    assert (document["success"], document["prediction"]) == (True, "digit_7")
    assert document["score"] == round(document["score"], 4)
    assert document["image_file_name"] == hashlib.md5(DIGIT.read_bytes()).hexdigest() + ".png"


def test_predict_a_text_file(base: str) -> None:
    """400 and exactly A's words."""
    answer = predict(base, "foo.txt", b"not a picture", "text/plain", login(base, "admin@example.com", "admin"))
    assert (answer.status_code, answer.json()) == (400, {"detail": "File type is not supported."})


def test_predict_without_a_token(base: str) -> None:
    """401."""
    assert predict(base, "digit.png", DIGIT.read_bytes(), "image/png", None).status_code == 401


def test_a_user_from_registration_to_deletion(base: str) -> None:
    """Registered, logged in, feedback given and read back, then deleted by the admin."""
    new = {"name": "Ada", "email": "ada@example.org", "password": "correct horse"}
    user = httpx2.post(f"{base}/user/", json=new).json()
    ada = {"Authorization": f"Bearer {login(base, new['email'], new['password'])}"}
    said: dict[str, Any] = {"score": 0.9, "predicted_class": "x", "image_file_name": "x.png", "feedback": "no"}
    assert httpx2.post(f"{base}/feedback/", json=said, headers=ada).status_code == 201
    assert [said.items() <= row.items() for row in httpx2.get(f"{base}/feedback/", headers=ada).json()] == [True]
    admin = {"Authorization": f"Bearer {login(base, 'admin@example.com', 'admin')}"}
    assert httpx2.delete(f"{base}/user/{user['id']}", headers=admin).status_code == 204
    assert login(base, new["email"], new["password"]) is None


@pytest.mark.skipif(not (DOG.exists() and MOBILENET.exists()), reason="the shared photos and weights are not here")
def test_a_dog_is_a_dog(tmp_path: Path) -> None:
    """With real weights (MobileNetV2) A's dog.jpeg is some dog, and the answer has A's four fields and no more."""
    with serving(tmp_path, "--model", "mobilenet_v2", "--weights", str(MOBILENET)) as base:
        answer = predict(base, "dog.jpeg", DOG.read_bytes(), "image/jpeg", login(base, "admin@example.com", "admin"))
    document = answer.json()
    print(document)
    assert document.keys() == {"success", "prediction", "score", "image_file_name"}
    assert document["prediction"] in ClassTable.read(IMAGENET_CLASSES).labels[DOGS]
    assert document["score"] == round(document["score"], 4)
    assert document["image_file_name"] == hashlib.md5(DOG.read_bytes()).hexdigest() + ".jpeg"
