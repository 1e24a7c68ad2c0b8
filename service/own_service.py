"""The service that works in a data folder, asked over HTTP by a command that may read that folder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from service import data_folder
from service.credentials import Bearer, bearer
from service.errors import GlimtError, Unavailable
from service.settings import Settings

PATIENCE_S = 60.0


class Refused(GlimtError):
    """What the service said, in its words."""

    title = "That was refused"


class OwnService:
    """`ask` it as whoever may read its folder."""

    def __init__(self, client: httpx2.AsyncClient, key: Bearer) -> None:
        self._client = client
        self._key = key

    async def ask(self, method: str, path: str, content: object = None) -> httpx2.Response:
        """Its answer to `content` as JSON. Raises Refused, Unavailable."""
        headers = {"Authorization": f"Bearer {self._key()}"}
        try:
            answer = await self._client.request(method, path, json=content, headers=headers)
        except httpx2.TransportError as error:
            raise Unavailable(
                f"The service at {self._client.base_url} does not answer: {error or type(error).__name__}. Try again, "
                "or stop it: then this works without it."
            ) from error
        if not answer.is_success:
            raise Refused(_words(answer))
        return answer


@asynccontextmanager
async def own_service(settings: Settings, *, patience_s: float = PATIENCE_S) -> AsyncIterator[OwnService | None]:
    """None when no service runs there. Raises StartError for a damaged key."""
    by = await asyncio.to_thread(data_folder.holder, settings.data_path)
    if by is None or by.url is None:
        yield None
        return
    key = bearer(by.url, settings.data_path, None)
    async with httpx2.AsyncClient(base_url=by.url, timeout=patience_s, trust_env=False) as client:
        yield OwnService(client, key)


def _words(answer: httpx2.Response) -> str:
    if answer.status_code == 401:
        return (
            f"The service at {answer.url.copy_with(path='/')} does not take the key in this data folder: it was "
            "replaced after the service had started. Restart the service."
        )
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The answer was {answer.status_code}, which Glimt does not say."
