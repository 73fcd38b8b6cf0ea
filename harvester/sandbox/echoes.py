"""Echoes: answers that repeat the credentials of their request, in errors, records, headers and addresses."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from harvester.sandbox.answers import Answer, dumps


def echo(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Return an answer that repeats the credentials of a request, in several encodings."""
    carried = headers.get("Authorization", "")
    secret = _revealed(*carried.partition(" ")[::2])
    if not secret:
        return answer
    echoed = f"{carried} {secret} {secret.upper()} {quote(secret, safe='')} " + "".join(
        f"&#{ord(char)};" for char in secret
    )
    others = {**answer.headers, "X-Asked-With": quote(carried)}
    if "Location" in others:
        mark = "&" if "?" in others["Location"] else "?"
        others["Location"] += f"{mark}asked_with={quote(carried)}"
    if answer.headers.get("Content-Type") != "application/json":
        return replace(answer, headers=others)
    body = dumps(_with(orjson.loads(b"".join(answer.chunks)), echoed, secret))
    return replace(answer, headers=others, length=len(body), chunks=(body,))


def _revealed(scheme: str, carried: str) -> str:
    return base64.b64decode(carried).decode() if scheme == "Basic" else carried


def _with(value: Any, echoed: str, secret: str) -> Any:
    """
    Return JSON that repeats a secret in an error, or in the title, a key, file names and addresses of
    records.
    """
    if isinstance(value, list):
        return [_with(each, echoed, secret) for each in value]
    if not isinstance(value, dict):
        return value
    if "message" in value:
        return {**value, "message": f"{value['message']} {echoed}"}
    changed = dict(value)
    if "title" in value:
        changed |= {"title": f"{value['title']} {echoed}", secret: secret}
    if "download_url" in value:
        changed |= {
            "name": f"{secret} {value['name']}",
            "download_url": f"{value['download_url']}?token={quote(secret)}",
        }
    if "files" in value:
        changed["files"] = _with(value["files"], echoed, secret)
    return changed
