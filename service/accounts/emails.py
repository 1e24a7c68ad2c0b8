"""E-mail addresses as names of accounts. Nothing is ever sent to one."""

import unicodedata

import email_validator

from service.errors import InvalidField
from service.store.users import MAX_EMAIL_CHARS

# The library's documented switch: people of a closed network have addresses like ada@corp.local.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normalised(email: str) -> str:
    """The address in lower case, its domain in one spelling. Raises InvalidField when it is none."""
    if len(email) > MAX_EMAIL_CHARS:  # first: to bring long text into one spelling takes time in its square
        raise InvalidField(f"email has {len(email)} characters; at most {MAX_EMAIL_CHARS} are allowed.")
    try:
        checked = email_validator.validate_email(email, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError as error:
        raise InvalidField(f"email: {error}") from error
    return spelled(checked.normalized)


def spelled(email: str) -> str:
    """One spelling for what is one address to people: as it is stored, and so as it must be looked for."""
    return unicodedata.normalize("NFC", email.strip()).lower()
