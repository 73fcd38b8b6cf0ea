"""
Commands, options and exit statuses. `job.py` does the work and is imported only when there is some.

An option's destination is the full name of the config key that it sets (``concurrency.workers``), so
options and file need no table between them.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester import __version__
from harvester.errors import HarvestError, UsageError, exit_status

if TYPE_CHECKING:
    from harvester.config import Config
    from harvester.models import Summary
    from harvester.plan import Plan
    from harvester.progress import Watched

INTERRUPTED = 130
DEFAULT_FILE = "harvest.toml"
EXAMPLE = "config.example.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    _set_up_logging(args)
    try:
        status: int = args.command(args)
    except HarvestError as error:
        for line in str(error).splitlines():
            print(f"harvester: {line}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - until exit
        return 0
    return status


# -- the words of the command line ----------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands and options."""
    parser = argparse.ArgumentParser(
        prog="harvester",
        description="Harvest records, statistics and verified files from figshare.",
        epilog="exit status: 0 all is there; 1 finished, and failures.csv says what is missing; "
        "2 wrong usage or config; 3 could not go on, state saved; 130 interrupted, state saved",
    )
    parser.add_argument("--version", action="version", version=f"harvester {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "harvest; run it again and it goes on where it stopped")
    _add_config(run)
    _add_sources(run)
    _add_tuning(run)
    _add_files(run)
    _add_formats(run)
    run.add_argument(
        "--refresh", action="append", default=[], choices=["metadata", "stats"], metavar="TASK",
        help="do this task (metadata, stats) again for every item; repeats",
    )  # fmt: skip
    _add_output_style(run)
    plan = _command(commands, "plan", _plan, "dry run: requests, hours, and which service decides")
    _add_config(plan)
    _add_sources(plan)
    _add_tuning(plan)
    _add_files(plan)
    plan.add_argument(
        "--sample", type=int, default=20, metavar="N",
        help="ask N records to estimate files and bytes (20)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    status = _command(commands, "status", _status, "what a folder holds, lacks and could not get")
    _add_config(status)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    verify = _command(commands, "verify", _verify, "hash every file again; damaged ones are owed again")
    _add_config(verify)
    export = _command(commands, "export", _export, "write the tables and records again")
    _add_config(export)
    _add_formats(export)
    init = _command(commands, "init", _init, "write a commented config to start from")
    init.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"where to ({DEFAULT_FILE})")
    sandbox = _command(commands, "sandbox", _sandbox, "serve a figshare look-alike on localhost")
    _add_sandbox(sandbox)
    return parser


def _command(
    commands: Any, name: str, do: Callable[[argparse.Namespace], int], help_text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text[0].upper() + help_text[1:] + "."
    )
    parser.set_defaults(command=do)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help=f"the config file ({DEFAULT_FILE}, where there is one)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", dest="output", metavar="FOLDER", help="the output folder")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources (they replace those of the config file)")
    group.add_argument(
        "--search",
        action="append",
        metavar="QUERY",
        help="items that match figshare's query language; repeats",
    )
    group.add_argument(
        "--group", action="append", type=int, metavar="ID", help="items of this group; repeats"
    )
    group.add_argument("--account", action="store_true", help="all items of the token's account")
    group.add_argument(
        "--item", action="append", metavar="ID", help="one item: its id, DOI or address; repeats"
    )
    group.add_argument(
        "--items", metavar="FILE", help="items listed in a file, one a line; - is standard input"
    )


def _add_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what and how")
    group.add_argument("--tasks", type=_words, metavar="LIST", help="metadata, stats, files (all three)")
    group.add_argument(
        "--rate", action="append", type=_rate, metavar="[SERVICE=]N",
        help="requests a second, for all services or one of api, stats, files (1); inf is no limit",
    )  # fmt: skip
    group.add_argument(
        "--workers", dest="concurrency.workers", type=int, metavar="N", help="items in hand at once (16)"
    )
    group.add_argument(
        "--downloads",
        dest="concurrency.downloads",
        type=int,
        metavar="N",
        help="files in transfer at once (8)",
    )
    group.add_argument(
        "--attempts", dest="retry.attempts", type=int, metavar="N", help="tries of one request (6)"
    )
    group.add_argument("--api", dest="services.api", metavar="URL", help="address of the api")
    group.add_argument("--stats", dest="services.stats", metavar="URL", help="address of the statistics")


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "--include", dest="files.include", action="append", metavar="GLOB",
        help="fetch only files whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument(
        "--exclude", dest="files.exclude", action="append", metavar="GLOB",
        help="fetch no file whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument("--max-size", dest="files.max_size", metavar="SIZE", help='such as "500 MB"')


def _add_formats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formats", dest="export.formats", type=_words, metavar="LIST", help="jsonl, csv (both)"
    )


def _add_output_style(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="every retry too")
    group.add_argument("--log-json", action="store_true", help="one JSON object a line on standard error")


def _add_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=300, metavar="N", help="public items (300)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other data (1)")
    parser.add_argument(
        "--port", type=int, default=8700, metavar="N",
        help="of the api; stats, files and storage follow (8700); 0 takes free ones",
    )  # fmt: skip
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before every answer (0)"
    )
    parser.add_argument(
        "--rate-cap", type=float, default=float("inf"), metavar="N",
        help="requests a second a service; beyond, 429 (no cap)",
    )  # fmt: skip
    parser.add_argument(
        "--fault", action="append", type=_share, default=[], metavar="NAME=SHARE",
        help="a share (0 to 1) of requests meets this fault; repeats; --fault help lists the names",
    )  # fmt: skip


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _rate(text: str) -> tuple[str, float]:
    service, _, number = text.rpartition("=")
    return service, float(number)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number or 0)


# -- from words to a config -----------------------------------------------------------------------


def _config(args: argparse.Namespace) -> Config:
    from harvester.job import load_config  # noqa: PLC0415 - see the module's docstring

    path = args.config
    if path is None and Path(DEFAULT_FILE).is_file():
        path = DEFAULT_FILE
    return load_config(path, options=_overrides(args))


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that options set, by their full names."""
    given = vars(args)
    options = {
        key: value
        for key, value in given.items()
        if value is not None and ("." in key or key in {"output", "tasks"})
    }
    for service, rate in given.get("rate") or ():
        for name in (service,) if service else ("api", "stats", "files"):
            options[f"rate.{name}"] = rate
    if sources := _sources(args):
        options["sources"] = sources
    return options


def _sources(args: argparse.Namespace) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = []
    given = vars(args)
    if given.get("account"):
        sources.append({"kind": "account"})
    if given.get("search"):
        sources.append({"kind": "search", "query": args.search})
    sources += [{"kind": "group", "id": number} for number in given.get("group") or ()]
    if given.get("item"):
        sources.append({"kind": "items", "ids": args.item})
    if given.get("items") and args.command is not _sandbox:
        sources.append({"kind": "items", "file": args.items})
    return sources


# -- commands -------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    config = _config(args)
    summary: Summary | None = _await(functools.partial(_harvest, config, args))
    if summary is None:
        return INTERRUPTED
    if not args.quiet and not args.log_json:
        print(_closing(summary, config))
    return summary.exit_status


async def _harvest(config: Config, args: argparse.Namespace) -> Summary | None:
    """Harvest until done or told to stop: once for a clean end, twice for an end at once."""
    import anyio  # noqa: PLC0415 - see the module's docstring

    from harvester import job, progress  # noqa: PLC0415

    summary: Summary | None = None
    stop: Callable[[], None] | None = None

    async def watch_signals(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if scope.cancel_called or stopped.is_set():
                    _exit_at_once()
                stopped.set()
                print("stopping: what is in hand ends first; once more to stop at once", file=sys.stderr)
                if stop is None:
                    scope.cancel()
                else:
                    stop()

    async def beside(watched: Watched, ask_to_stop: Callable[[], None]) -> None:
        nonlocal stop
        stop = ask_to_stop
        try:
            if progress.is_terminal() and not (args.quiet or args.log_json):
                await progress.show_live(watched)
            else:
                await progress.show_lines(watched)
        finally:
            stop = None

    stopped = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(watch_signals, group.cancel_scope)
        try:
            summary = await job.harvest(config, refresh=frozenset(args.refresh), on_start=beside)
        except HarvestError as error:
            problem: HarvestError | None = error
        else:
            problem = None
        group.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return summary


def _exit_at_once() -> None:
    """Leave; the ledger's transactions make that safe at any moment."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the live display had hidden the cursor
        sys.stderr.flush()
    os._exit(INTERRUPTED)


def _closing(summary: Summary, config: Config) -> str:
    from harvester.progress import human_bytes, human_seconds  # noqa: PLC0415

    run, folder = summary.run, summary.folder
    done = folder["files"].get("done", {"files": 0, "bytes": 0})
    requests = sum(run["requests"].values())
    lines = [
        f"{config.folder}: {folder['items']} items, {folder['records']} records, "
        f"{done['files']} files ({human_bytes(done['bytes'])})",
        f"this run: {requests} requests in {human_seconds(run['seconds'])}, "
        f"{run['items']['done']} items and {run['files']['done']} files done",
    ]
    lines += [
        f"{folder['files'][status]['files']} files {words}"
        for status, words in _STATUS_WORDS.items()
        if status in folder["files"]
    ]
    withdrawn = sum(states.get("withdrawn", 0) for states in folder["work"].values())
    if withdrawn:
        lines.append(f"{withdrawn} items withdrawn since they were harvested")
    if run["warnings"]:
        lines.append(f"{len(run['warnings'])} warnings: see {config.folder / 'summary.json'}")
    if summary.exit_status == INTERRUPTED:
        lines.append("interrupted; state saved: run the same command again to go on")
    elif folder["failures"]:
        lines.append(
            f"{folder['failures']} failures: see {config.folder / 'failures.csv'}; run again to retry them"
        )
    else:
        lines.append("complete: all that was asked for is there")
    return "\n".join(lines)


_STATUS_WORDS = {
    "skipped": "left out by your rules",
    "link": "hosted elsewhere, recorded only",
    "withheld": "not downloadable by design",
    "pending": "not fetched yet",
}


def _plan(args: argparse.Namespace) -> int:
    from harvester import job  # noqa: PLC0415

    config = _config(args)
    plan = _await(functools.partial(job.make_plan, config, sample_size=args.sample))
    print(_json(plan.to_dict()) if args.json else _plan_text(plan, config))
    return 1 if plan.incomplete else 0


def _plan_text(plan: Plan, config: Config) -> str:
    from harvester.progress import human_bytes, human_seconds  # noqa: PLC0415

    about = "about " if plan.sampled else ""
    how = f" (estimated from {plan.sampled} records)" if plan.sampled else ""
    lines = [
        f"items    {plan.items} selected, {plan.items_owed} to visit",
        f"files    {about}{plan.files_owed}, {about}{human_bytes(plan.bytes_owed)}{how}",
    ]
    for name, requests in plan.requests.items():
        rate = getattr(config.rate, name)
        lines.append(
            f"{name:8} {requests} requests at {rate:g} a second: {human_seconds(plan.seconds[name])}"
        )
    lines.append(f"at least {human_seconds(max(plan.seconds.values()))}; {plan.binding} decides")
    lines += [f"incomplete: {what}" for what in plan.incomplete]
    return "\n".join(lines)


def _status(args: argparse.Namespace) -> int:
    from harvester import job  # noqa: PLC0415

    told = job.status(_config(args))
    print(_json(told) if args.json else _status_text(told))
    return 0


def _status_text(told: dict[str, Any]) -> str:
    from harvester.progress import human_bytes  # noqa: PLC0415

    run = told["last_run"]
    by = f" by {run['by']}" if run["by"] else ""
    lines = [
        f"folder    {told['folder']}",
        f"last run  {run['state']}{by}, started {run['started']}"
        + (f", ended {run['ended']}" if run["ended"] else ""),
        f"items     {told['items']}, {told['records']} with their record",
    ]
    for task, states in told["work"].items():
        lines.append(f"{task:9} " + ", ".join(f"{number} {state}" for state, number in states.items()))
    for status, found in told["files"].items():
        lines.append(f"files     {found['files']} {status} ({human_bytes(found['bytes'])})")
    if told["listings_open"]:
        lines.append(f"listings  {told['listings_open']} not read to their end")
    lines.append(f"failures  {told['failures']}")
    return "\n".join(lines)


def _verify(args: argparse.Namespace) -> int:
    from harvester import job  # noqa: PLC0415

    found = _await(functools.partial(job.verify, _config(args)))
    print(f"{found.whole} files whole, {len(found.damaged)} damaged or gone")
    if found.damaged:
        print("run again to fetch them")
    return 1 if found.damaged else 0


def _export(args: argparse.Namespace) -> int:
    from harvester import job  # noqa: PLC0415

    for path in _await(functools.partial(job.export, _config(args))):
        print(path)
    return 0


def _init(args: argparse.Namespace) -> int:
    path = Path(args.file)
    text = _example()
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as exc:
        raise UsageError(f"{path}: is there already; name another file, or remove it first") from exc
    except OSError as exc:
        raise UsageError(f"{path}: cannot be written: {exc.strerror}") from exc
    print(f"wrote {path}; edit it, then: harvester run -c {path}")
    return 0


def _example() -> str:
    """Return the commented config: inside the wheel, or at the top of a checkout."""
    packed = resources.files("harvester") / EXAMPLE
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / EXAMPLE).read_text(encoding="utf-8")


def _sandbox(args: argparse.Namespace) -> int:
    from harvester.sandbox import FAULTS, Settings, serve  # noqa: PLC0415

    faults = dict(args.fault)
    if "help" in faults:
        for name, text in FAULTS.items():
            print(f"{name:18} {text}")
        return 0
    if unknown := faults.keys() - FAULTS.keys():
        raise UsageError(f"--fault: unknown {', '.join(sorted(unknown))}; --fault help lists the names")
    port = args.port
    settings = Settings(
        items=args.items,
        seed=args.seed,
        ports=(port, port + 1, port + 2, port + 3) if port else (0, 0, 0, 0),
        latency=args.latency,
        rate_cap=args.rate_cap,
        faults=faults,
        record=False,
    )

    def announce(text: str) -> None:
        print(text, flush=True)

    try:
        _await(functools.partial(serve, settings, announce=announce))
    except OSError as exc:
        raise UsageError(f"port {port}: {exc.strerror}; --port takes another, 0 a free one") from exc
    return 0


def _await(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    import anyio  # noqa: PLC0415 - see the module's docstring

    return anyio.run(work)


def _json(told: dict[str, Any]) -> str:
    import orjson  # noqa: PLC0415

    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def _set_up_logging(args: argparse.Namespace) -> None:
    handler = logging.StreamHandler()
    if getattr(args, "log_json", False):
        from harvester.progress import JsonFormatter  # noqa: PLC0415

        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("harvester")
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    quiet, verbose = getattr(args, "quiet", False), getattr(args, "verbose", False)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
