"""Secrets: tokens and credentials, which are never printed, and the search for tokens in config files."""

from __future__ import annotations

import re
from binascii import b2a_base64

from harvester.text.redaction import REDACTOR

# figshare's tokens are long hexadecimal numbers; those of other services follow a typical word.
_LIKE_TOKENS = (
    r"(?i)\b[0-9a-f]{40,}\b|(?:token|secret|password|api_?key|authorization)\W{1,6}(?=[\w-]*\d)[\w-]{16,}"
)


def is_variable(name: str) -> bool:
    """Return whether a name is that of an environment variable, and not a secret in its place."""
    return bool(re.fullmatch(r"(?![0-9A-Fa-f]{20,}$)[A-Za-z_][A-Za-z0-9_]*", name))


class Secret:
    """
    A text that is not printed by accident, and is redacted in texts from others.

    ``name``: of its environment variable, "" if it has none.
    ``forms``: the texts to redact: itself, the password in ``name:password``, and the whole in base64.
    """

    __slots__ = ("__weakref__", "_text", "forms", "name")

    def __init__(self, text: str, name: str = "") -> None:
        self._text = text
        self.name = name
        packed = b2a_base64(text.encode(errors="replace"), newline=False).decode()
        in_addresses = packed.replace("+", "-").replace("/", "_")
        self.forms = tuple(filter(None, (text, text.partition(":")[2], packed, in_addresses)))
        REDACTOR.learn(self)

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> str:
        """Return the text itself, for the request header."""
        return self._text

    @property
    def is_sendable(self) -> bool:
        """Whether it is valid in a header: visible ASCII only."""
        return self._text.isascii() and self._text.isprintable() and " " not in self._text


def lines_like_tokens(text: str, *secrets: Secret | None) -> list[int]:
    """Return the numbers (from 1) of lines that contain a likely token, or one of the secrets."""
    known = [secret.reveal() for secret in secrets if secret is not None]
    return [
        number
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(_LIKE_TOKENS, line) or any(secret in line for secret in known)
    ]
