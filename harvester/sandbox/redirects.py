"""Redirects: the wrong targets of downloads and records."""

from __future__ import annotations

import re

from harvester.sandbox.catalogue import Addresses
from harvester.sandbox.request import Request


def download_address(kind: str, request: Request, signed: str, at: Addresses) -> str:
    """Return the target of a download; `signed`: the right address."""
    if kind == "loop":
        here = at.api if request.path.startswith("/file/") else at.files
        return f"{here}{request.path}?hop={int(request.fields.get('hop', 0)) + 1}"
    if kind == "http":
        return f"http://storage.invalid{request.path}"
    if kind == "other-host":
        return re.sub(r"//[^/]+:", "//localhost:", signed, count=1)
    if kind == "file-scheme":
        return "file:///etc/passwd"
    return signed
