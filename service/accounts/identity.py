"""Who a request comes from."""

from dataclasses import dataclass
from typing import Literal

from service.store.users import Role, User

Proof = Literal["session", "bearer", "token", "basic", "key"]
"""session: the page's cookie; bearer: a JWT from POST /login; token: a personal token; basic: HTTP Basic; key: a JWT
signed with this installation's own key by somebody who can read its data folder."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An account and how it proved itself. `user` is None for whoever holds the data folder itself."""

    user: User | None
    role: Role
    proof: Proof

    @property
    def owner(self) -> str | None:
        """What its rows say in their `owner` column."""
        return self.user.owner if self.user else None

    @property
    def name(self) -> str:
        """For the log."""
        return f"user {self.user.id}" if self.user else "local"

    @property
    def is_admin(self) -> bool:
        """Whether it may change the service."""
        return self.role == "admin"
