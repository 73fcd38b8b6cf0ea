"""Services that repeat what they were asked with: in errors, records, headers and addresses."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson

from harvester.sandbox.answers import Answer, dumps


def echo(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """Return an answer that repeats the credentials of a request, written in several ways."""
    carried = headers.get("Authorization", "")
    secret = _revealed(*carried.partition(" ")[::2])
    if not secret:
        return answer
    told = f"{carried} {secret} {secret.upper()} {quote(secret, safe='')} " + "".join(
        f"&#{ord(char)};" for char in secret
    )
    others = {**answer.headers, "X-Asked-With": quote(carried)}
    if "Location" in others:
        mark = "&" if "?" in others["Location"] else "?"
        others["Location"] += f"{mark}asked_with={quote(carried)}"
    if answer.headers.get("Content-Type") != "application/json":
        return replace(answer, headers=others)
    body = dumps(_with(orjson.loads(b"".join(answer.pieces)), told, secret))
    return replace(answer, headers=others, length=len(body), pieces=(body,))


def _revealed(scheme: str, carried: str) -> str:
    return base64.b64decode(carried).decode() if scheme == "Basic" else carried


def _with(value: Any, told: str, secret: str) -> Any:
    """Repeat it in an error, or in the title, a key, the file names and their addresses of each record."""
    if isinstance(value, list):
        return [_with(each, told, secret) for each in value]
    if not isinstance(value, dict):
        return value
    if "message" in value:
        return {**value, "message": f"{value['message']} {told}"}
    changed = dict(value)
    if "title" in value:
        changed |= {"title": f"{value['title']} {told}", secret: secret}
    if "download_url" in value:
        changed |= {
            "name": f"{secret} {value['name']}",
            "download_url": f"{value['download_url']}?token={quote(secret)}",
        }
    if "files" in value:
        changed["files"] = _with(value["files"], told, secret)
    return changed
