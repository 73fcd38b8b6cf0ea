"""Credentials: where a token must not stand, and how it is kept from showing."""

from __future__ import annotations

import re
from binascii import b2a_base64

from harvester.text.redaction import REDACTOR

# figshare's tokens are long hexadecimal numbers; other services' show by the word before them.
_LIKE_TOKENS = (
    r"(?i)\b[0-9a-f]{40,}\b|(?:token|secret|password|api_?key|authorization)\W{1,6}(?=[\w-]*\d)[\w-]{16,}"
)


def is_variable(name: str) -> bool:
    """Tell whether a name is an environment variable's, and nothing that somebody put in its place."""
    return bool(re.fullmatch(r"(?![0-9A-Fa-f]{20,}$)[A-Za-z_][A-Za-z0-9_]*", name))


class Secret:
    """
    A text that does not show when it is printed by accident, nor where somebody else repeats it.

    ``name``: of the environment variable that holds it, "" where it came in another way. ``forms``: what is
    taken out of texts from outside: itself, the password in ``name:password``, and the whole in base64.
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
        """Return the text itself, for the one header that carries it."""
        return self._text

    @property
    def is_sendable(self) -> bool:
        """Whether it can stand in a header: nothing but visible ASCII."""
        return self._text.isascii() and self._text.isprintable() and " " not in self._text


def lines_like_tokens(text: str, *secrets: Secret | None) -> list[int]:
    """Number the lines, from 1, that hold something that looks like a token, or one of the secrets."""
    known = [secret.reveal() for secret in secrets if secret is not None]
    return [
        number
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(_LIKE_TOKENS, line) or any(secret in line for secret in known)
    ]
