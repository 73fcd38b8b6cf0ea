"""
Redaction: removes secrets from every external text before it is stored, logged or shown.

This module knows every secret of the process while it exists, so that no layer needs a list of secrets.
Errors, log lines, printed text and JSON answers pass through it when they are created.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Iterable
from typing import AnyStr, Generic, Protocol

MARK = "[redacted]"
"""Replaces a removed text."""
SHORTEST = 5
"""Characters of the shortest secret that is removed; a shorter one would remove many normal words."""
SHORTEST_IN_RECORDS = 8
SHORTEST_WORD = 20
"""A secret of letters only may be a normal word in a record, unless it has this many characters."""
RECOGNISABLE = 12
"""This many first characters of a secret are recognised; the rest of the same word is removed with them."""
_WINDOW = 1 << 20
_OVERLAP = 1 << 16
"""Bytes of the longest secret, in any encoding."""

_HTML = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_ESCAPED = "/\"\\'"
"""Characters that JSON may write with a backslash before them."""
_WORD = r"[\w%+/=.~-]*"
_NAMES = (
    r"X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)", "AWSAccessKeyId", "Key-Pair-Id", "Policy",
    "Signature", "sig", r"(?:\w+_)?token", "private_link", "api_?key", r"(?:\w+_)?secret", "password",
)  # fmt: skip
_SIGNATURES = (
    rf"(?i)((?:(?<=%3F)|(?<=%26)|(?<![\w%-]))(?:{'|'.join(_NAMES)})(?:=|%(?:25)*3D))"
    rf"(?!{re.escape(MARK)})(?:(?!%(?:25)*26)[^&\s\"'<>,;)\]}}#])+"
)
"""Secrets in the query of an address, also of one that is encoded within another address."""
_USER_INFO = rf"(?i)(https?://)(?!{re.escape(MARK)}@)[^\s/?#\"'<>@]+@"
_HEADERS = (
    r"((?:[Pp]roxy-)?[Aa]uthorization\W{1,4}(?:(?i:token|basic|bearer)\s+)?)"
    rf"(?!{re.escape(MARK)})[\w+/=.~-]{{8,}}"
)


class SecretForms(Protocol):
    """A secret; ``forms``: all texts that contain it."""

    @property
    def forms(self) -> Iterable[str]: ...


class Redactor:
    r"""
    Removes secrets from texts, in any encoding.

    It finds them in another case, encoded as in addresses (``%41``), JSON (``\u0041``) or HTML (``&#65;``),
    and cut after `RECOGNISABLE` characters.
    """

    def __init__(self) -> None:
        self._known: set[weakref.ref[SecretForms]] = set()
        self._changes = 0  # of the known secrets
        self._sorted: tuple[int, list[str]] = (0, [])

    def learn(self, secret: SecretForms) -> None:
        """Redact a secret from now on, as long as it exists."""
        self._known.add(weakref.ref(secret, self._forget))
        self._changes += 1

    def _forget(self, known: weakref.ref[SecretForms]) -> None:
        self._known.discard(known)
        self._changes += 1

    def text(self, text: str) -> str:
        """Return a text without secrets, and without the signatures in its addresses."""
        for form in self._forms():
            if len(form) >= SHORTEST and (pattern := _of_texts(form).in_(text)):
                text = pattern.sub(MARK, text)
        if "=" in text or "%" in text:
            text = re.sub(_SIGNATURES, rf"\1{MARK}", text)
        if "://" in text:
            text = re.sub(_USER_INFO, rf"\1{MARK}@", text)
        return re.sub(_HEADERS, rf"\1{MARK}", text) if "uthorization" in text else text

    def record(self, raw: bytes) -> bytes:
        """Return a received answer without our secrets; links in it, signed or not, stay unchanged."""
        for form in self._forms():
            shortest = SHORTEST_WORD if form.isalpha() else SHORTEST_IN_RECORDS
            if len(form) >= shortest and (pattern := _of_bytes(form).in_(raw)):
                raw = _without(pattern, raw)
        return raw

    def _forms(self) -> list[str]:
        # Read before the set: a secret that another thread adds meanwhile is found the next time.
        changes = self._changes
        if self._sorted[0] == changes:
            return self._sorted[1]
        # Copy the set: other threads may change it meanwhile.
        alive = [secret for known in tuple(self._known) if (secret := known()) is not None]
        found = {form for secret in alive for form in secret.forms}
        forms = sorted(found, key=len, reverse=True)  # name:password before the password in it
        self._sorted = (changes, forms)
        return forms


def _without(pattern: re.Pattern[bytes], raw: bytes) -> bytes:
    """Remove all matches; a large answer is processed in windows, as a match holds the interpreter lock."""
    if len(raw) <= _WINDOW:
        return pattern.sub(MARK.encode(), raw)
    chunks: list[bytes] = []
    done = 0
    for begin in range(0, len(raw), _WINDOW):
        for found in pattern.finditer(raw, max(begin, done), begin + _WINDOW + _OVERLAP):
            if found.start() >= begin + _WINDOW:
                break
            chunks += [raw[done : found.start()], MARK.encode()]
            done = found.end()
    return b"".join([*chunks, raw[done:]]) if chunks else raw


class _SecretPattern(Generic[AnyStr]):
    """
    The pattern of a secret, which is used only on a text that may contain it.

    Attributes:
        beginning: of the secret, in lower case.
        encodings: texts of which one must occur where characters of the beginning are encoded.
        source: of the regular expression; to compile it takes 35 ms.
    """

    def __init__(self, beginning: AnyStr, encodings: tuple[AnyStr, ...], source: AnyStr) -> None:
        self._beginning: AnyStr = beginning
        self._encodings: tuple[AnyStr, ...] = encodings
        self._source: AnyStr = source

    def in_(self, text: AnyStr) -> re.Pattern[AnyStr] | None:
        """Return the compiled pattern, or None if the text cannot contain the secret."""
        may_be_here = (
            len(text) > _WINDOW  # lower() would copy it
            or self._beginning in text.lower()
            or any(encoding in text for encoding in self._encodings)
        )
        return self._compiled if may_be_here else None

    @functools.cached_property
    def _compiled(self) -> re.Pattern[AnyStr]:
        return re.compile(self._source)


@functools.lru_cache(maxsize=64)
def _of_texts(form: str) -> _SecretPattern[str]:
    beginning = form[:RECOGNISABLE].lower()
    return _SecretPattern(beginning, _encodings(beginning), _source(form))


@functools.lru_cache(maxsize=64)
def _of_bytes(form: str) -> _SecretPattern[bytes]:
    beginning = form[:RECOGNISABLE].lower()
    encodings = tuple(each.encode() for each in _encodings(beginning))
    return _SecretPattern(beginning.encode(errors="replace"), encodings, _source(form).encode())


def _encodings(text: str) -> tuple[str, ...]:
    """Return texts of which one occurs in every way to write this one other than plainly."""
    if not text.isascii():
        return ("",)
    found = ["%", "\\u", "&#"]
    if any(char in _HTML for char in text):
        found.append("&")
    if any(char in _ESCAPED for char in text):
        found.append("\\")
    if " " in text:
        found.append("+")
    return tuple(found)


def _source(form: str) -> str:
    chars = [_any_writing(char) for char in form]
    first, rest = "".join(chars[:RECOGNISABLE]), "".join(chars[RECOGNISABLE:])
    return f"{first}(?:{rest}|){_WORD if len(form) > RECOGNISABLE else ''}" if rest else first


def _any_writing(char: str) -> str:
    """
    Return a pattern that matches a character in any encoding.

    Each alternative begins with a plain character, so that `re` finds candidates quickly.
    """
    ways: list[str] = []
    for each in dict.fromkeys((char, char.lower(), char.upper())):
        if len(each) > 1:  # ß has two
            continue
        code = ord(each)
        in_json = "".join(
            rf"\\\\*u{_hex(unit)}" for unit in _chunks(each.encode("utf-16-be", "surrogatepass"), 2)
        )
        in_address = "".join(f"%(?:25)*{_hex(byte)}" for byte in _chunks(each.encode(errors="replace"), 1))
        ways += [re.escape(each), in_json, in_address, f"&#0*{code};", rf"&#[xX]0*{_hex(f'{code:x}')};"]
        if each in _HTML:
            ways.append(f"&{_HTML[each]};")
    if char in _ESCAPED:
        ways.append(r"\\\\*" + re.escape(char))
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _chunks(data: bytes, size: int) -> list[str]:
    return [data[at : at + size].hex() for at in range(0, len(data), size)]


def _hex(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


REDACTOR = Redactor()
"""The redactor of this process: it removes every `Secret` that the process creates."""
