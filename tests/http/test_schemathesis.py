"""Schemathesis asks the real service thousands of things, allowed and not, and holds each answer against the document.

Its settings, and what it leaves out and why, are in schemathesis.toml.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.world import make_app, operator, under_uvicorn

SETTINGS = Path(__file__).with_name("schemathesis.toml").read_text()
LIMIT_S = 300
OFF: dict[str, Any] = {"login_rate": "off", "login_rate_address": "off"}
PASSWORD = "in none of the examples"  # so that no example can change or delete the account
ACCOUNT = f"""
[auth.openapi]
basic = {{ username = "eve@example.org", password = "{PASSWORD}" }}

[[operations]]
# These would delete the account the run signs in with; test_openapi.py tries them with one to lose.
include-name = ["DELETE /api/me", "DELETE /user/{{user_id}}"]
enabled = false

[[operations]]
# For admins, or for nobody in particular: asked in the other runs.
include-path-regex = "^/($|docs|health|labels|login|metrics|openapi|ops|people|readyz|sign-|user/$)"
enabled = false
"""


async def schemathesis(folder: Path, port: int, credentials: str = "") -> str:
    """Let it loose on the service whose data is in `folder`; its words when it found something, else nothing."""
    address = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=address, headers=operator(folder)) as client:
        (folder / "openapi.json").write_bytes((await client.get("/openapi.json")).content)
    (folder / "schemathesis.toml").write_text(f"{SETTINGS}\n{credentials}")
    command = ["-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "--no-color", "openapi.json"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--url",
        address,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"Tested:" in output, output.decode()
    return output.decode() if process.returncode else ""


@pytest.mark.slow
async def test_as_anybody(tmp_path: Path) -> None:
    """Without credentials: what is open answers as described, what is not says 401."""
    app = make_app(tmp_path, **OFF)
    async with under_uvicorn(app) as port:
        assert await schemathesis(tmp_path, port) == ""


@pytest.mark.slow
async def test_as_anybody_where_a_login_is_required(tmp_path: Path) -> None:
    """The document says so, and it is so."""
    app = make_app(tmp_path, auth="required", **OFF)
    async with under_uvicorn(app) as port:
        assert await schemathesis(tmp_path, port, "[phases.fuzzing]\nenabled = false") == ""


@pytest.mark.slow
async def test_as_an_admin(tmp_path: Path) -> None:
    """Who holds the local key: every admin's operation, and no account that could be deleted under it."""
    app = make_app(tmp_path, **OFF, keep_images="all")
    token = operator(tmp_path)["authorization"].removeprefix("Bearer ")
    async with under_uvicorn(app) as port:
        assert await schemathesis(tmp_path, port, f'[auth.openapi]\nbearer = {{ bearer = "{token}" }}') == ""


@pytest.mark.slow
async def test_as_somebody(tmp_path: Path) -> None:
    """With an account, by HTTP Basic: one's own tokens, history and pages."""
    app = make_app(tmp_path, **OFF, keep_images="all")
    async with under_uvicorn(app) as port:
        await app.house.accounts.create(name="Eve", email="eve@example.org", password=PASSWORD)
        assert await schemathesis(tmp_path, port, ACCOUNT) == ""
