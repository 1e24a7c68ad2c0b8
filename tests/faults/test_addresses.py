"""T41: nobody can make the service fetch something."""

import ast
from pathlib import Path

import pytest

import service
from tests.world import in_process, make_app

SERVICE = Path(service.__file__).parent
CLIENTS = {"aiohttp", "http.client", "httpx", "httpx2", "requests", "socket", "urllib.request", "urllib3"}
ROOMS = ("accounts", "bulk", "http", "inference", "store", "training")
"""What works for those who ask. Commands may fetch, and `models` does, what the operator named."""
ADDRESS = "http://169.254.169.254/latest/meta-data"


def imported(path: Path) -> set[str]:
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_what_answers_requests_cannot_fetch() -> None:
    """None of these rooms knows how to ask another server."""
    files = [path for room in ROOMS for path in (SERVICE / room).rglob("*.py")]
    assert len(files) > 50
    assert [path for path in files if imported(path) & CLIENTS] == []


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"url": ADDRESS}},
        {"data": {"file": ADDRESS}},
        {"params": {"url": ADDRESS}},
        {"content": f'<svg><image href="{ADDRESS}"/></svg>'.encode()},
    ],
    ids=lambda sent: str(next(iter(sent))),
)
async def test_an_address_is_no_picture(tmp_path: Path, sent: dict[str, object]) -> None:
    """An address in a picture's place is refused."""
    async with in_process(make_app(tmp_path)) as client:
        assert (await client.post("/predict", **sent)).status_code in (400, 415, 422)  # type: ignore[arg-type]
