"""
Screen layout of the live display: its lines for a width, as plain values.

No line is wider than `WIDEST`, so that a terminal that is made narrower need not wrap it. What does not fit
is shortened or dropped, the least important part first.
"""

from __future__ import annotations

from dataclasses import dataclass

from harvester.cli.amounts_text import of_total, time_left_text
from harvester.client import Transfer
from harvester.client.limits import RateStatistics
from harvester.engine import amounts
from harvester.engine.amounts import Amount
from harvester.engine.progress import MOST_TRANSFERS, ProgressSnapshot
from harvester.text.display import one_line
from harvester.text.units import human_bytes, human_seconds

WIDEST = 78
LABEL = 10
"""Columns of the label in front."""
LONGEST_BAR, SHORTEST_BAR = 24, 8
SHOWN_AFTER_SECONDS = 1.0
"""A transfer that is over sooner is not shown: it would only flicker."""


@dataclass(frozen=True)
class ScreenLine:
    """
    One line: its text, and behind it a bar of `bar` columns.

    ``share``: the part of the bar that is filled, from 0 to 1.
    """

    text: str
    bar: int = 0
    share: float = 0.0


def screen(snapshot: ProgressSnapshot, columns: int) -> list[ScreenLine]:
    """Return the lines of the display."""
    width = max(1, min(columns - 1, WIDEST))  # a full line may wrap
    lines = _amounts(snapshot, width)
    lines += [_line(_transfer(each, width), width) for each in _shown(snapshot)]
    waiting = snapshot.waiting_seconds()
    for name, rate in snapshot.rates().items():
        if snapshot.traffic.requests[name] or rate.paused_seconds:
            label = "downloads" if name == "files" else name
            lines.append(
                _line(
                    label.ljust(LABEL) + _service(snapshot, name, rate, width - LABEL, waiting.get(name)),
                    width,
                )
            )
    lines.append(_line("time".ljust(LABEL) + _time(snapshot, width - LABEL), width))
    return lines


def one_row(text: str, columns: int) -> ScreenLine:
    """Return a line that is cut where the terminal ends."""
    return _line(text, max(1, columns - 1))


def _line(text: str, width: int) -> ScreenLine:
    return ScreenLine(text if len(text) <= width else text[: width - 1] + "…")


def _amounts(snapshot: ProgressSnapshot, width: int) -> list[ScreenLine]:
    """Return the lines of items, files and bytes; texts, percent and bars stand below each other."""
    rows = [("items", amounts.items(snapshot), "")]
    counters = snapshot.counters
    if counters.files_pending or counters.before.files or counters.files_found:
        rows.append(("files", amounts.files(snapshot), ""))
        rows.append(("bytes", amounts.file_bytes(snapshot), f"{human_bytes(snapshot.bytes_a_second)}/s"))
    texts = [of_total(amount, human_bytes if label == "bytes" else str) for label, amount, _ in rows]
    if LABEL + max(map(len, texts)) + 2 + len("100 %") > width:
        texts = [text.replace("about ", "~") for text in texts]
    longest = max(map(len, texts))
    speed = max(len(more) for _, _, more in rows)
    left = width - LABEL - longest - 2 - len("100 %")
    if not 0 < speed <= left - 2:
        speed = 0
    bar = min(LONGEST_BAR, left - 2 - (speed + 2 if speed else 0))
    lines = []
    for text, (label, amount, more) in zip(texts, rows, strict=True):
        columns = label.ljust(LABEL) + text.ljust(longest) + "  " + _percent(amount)
        if speed:
            columns += "  " + more.rjust(speed)
        if bar >= SHORTEST_BAR:
            lines.append(ScreenLine(columns + "  ", bar, amount.share or 0.0))
        else:
            lines.append(_line(columns.rstrip(), width))
    return lines


def _percent(amount: Amount) -> str:
    return "     " if amount.percent is None else f"{amount.percent:3} %"


def _shown(snapshot: ProgressSnapshot) -> list[Transfer]:
    now = snapshot.traffic.clock()
    lasting = [each for each in snapshot.transfers if now - each.began >= SHOWN_AFTER_SECONDS]
    return lasting[:MOST_TRANSFERS]


def _transfer(transfer: Transfer, width: int) -> str:
    """Return a file in transfer: its name, cut in the middle if it is long, and its bytes."""
    amount = Amount(transfer.received, transfer.size)
    said = f"  {of_total(amount, human_bytes)}"
    said += f"  {_percent(amount)}" if amount.percent is not None else ""
    room = max(8, min(width - 2 - len(said), LABEL + LONGEST_BAR))
    name = one_line(transfer.path.rpartition("/")[2])
    if len(name) > room:
        name = f"{name[: room - room // 2 - 1]}…{name[len(name) - room // 2 :]}"
    return f"  {name}{said}"


def _service(
    snapshot: ProgressSnapshot, name: str, rate: RateStatistics, room: int, waiting: float | None
) -> str:
    """Return the present rate of a service, its pause and its errors, as far as they fit."""
    parts = []
    if rate.paused_seconds:
        parts.append(f"pauses {rate.paused_seconds:.0f} s")
    elif waiting:
        parts.append(f"no answer for {human_seconds(waiting)}")
    if errors := snapshot.traffic.errors[name]:
        parts.append(f"{errors} error" + "s" * (errors != 1))
    now, allowed = snapshot.requests_a_second(name), rate.per_second
    limit = "" if allowed == float("inf") else f" of {allowed:.3g}"
    for unit in (" requests/s", "/s"):
        text = "  ".join([f"{now:.1f}{unit}{limit}", *parts])
        if len(text) <= room:
            return text
    return "  ".join([*parts, f"{now:.1f}/s"])


def _time(snapshot: ProgressSnapshot, room: int) -> str:
    passed = f"{human_seconds(snapshot.seconds)} passed"
    if snapshot.counters.stopping:
        texts = [f"{passed}, stopping after in-flight work", "stopping after in-flight work", "stopping"]
    elif (left := time_left_text(snapshot)) is None:
        texts = [passed]
    else:
        texts = [f"{passed}, {left}", left]
    return next((text for text in texts if len(text) <= room), texts[-1])
