"""Where downloads and records lead to instead of where they should."""

from __future__ import annotations

import re

from harvester.sandbox.catalogue import Addresses
from harvester.sandbox.request import Request


def download_address(kind: str, asked: Request, signed: str, at: Addresses) -> str:
    """Return what a download redirects to; `signed`: the right address."""
    if kind == "loop":
        here = at.api if asked.path.startswith("/file/") else at.files
        return f"{here}{asked.path}?hop={int(asked.fields.get('hop', 0)) + 1}"
    if kind == "http":
        return f"http://storage.invalid{asked.path}"
    if kind == "other-host":
        return re.sub(r"//[^/]+:", "//localhost:", signed, count=1)
    if kind == "file-scheme":
        return "file:///etc/passwd"
    return signed
