"""The accounts that a start makes: the demo account as it is wanted, and somebody who can make others."""

from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from service.accounts.accounts import Accounts
from service.accounts.passwords import random_password
from service.errors import EmailTaken
from service.settings import Settings

FIRST_ADMIN = "admin@localhost"


async def first_accounts(settings: Settings, accounts: Accounts, on_first_admin: Callable[[str, str], None]) -> None:
    """`on_first_admin` is told e-mail and password of an admin that had to be made. Raises what the store raises."""
    await accounts.prepare_demo(settings.demo_account)
    if not settings.login_required or not await accounts.needs_admin():
        return
    password = random_password()
    for email in (FIRST_ADMIN, f"admin-{token_hex(4)}@localhost"):  # anybody may have registered the first one
        with suppress(EmailTaken):
            await accounts.create(name="Admin", email=email, password=password, role="admin")
            on_first_admin(email, password)
            return
