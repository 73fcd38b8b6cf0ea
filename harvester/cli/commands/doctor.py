"""`harvester doctor`: is everything in order for a run here? Its output can be pasted into a bug report."""

from __future__ import annotations

import argparse
import functools
from datetime import UTC, datetime

from harvester.cli import console
from harvester.cli.arguments.common import config_file
from harvester.cli.console import print_json, print_text
from harvester.cli.event_loop import run_until_signal
from harvester.cli.render import as_json
from harvester.config import Config
from harvester.errors import ExitStatus
from harvester.jobs.doctor.doctor import examine
from harvester.jobs.doctor.finding import Finding, Outcome, to_document, worst


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the result of each check as soon as it is known; with ``--json`` all at the end."""
    if not args.json:
        print_text(f"harvester doctor, {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    findings = run_until_signal(args, functools.partial(_examine, args, config))
    if args.json:
        print_json(as_json(to_document(findings)))
    else:
        print_text(_total(findings))
    return ExitStatus.FAILURES if worst(findings) is Outcome.FAILED else ExitStatus.COMPLETE


async def _examine(args: argparse.Namespace, config: Config) -> list[Finding]:
    findings = []
    async for finding in examine(config, config_file=config_file(args), is_offline=args.offline):
        findings.append(finding)
        if not args.json:
            print_text(_line(finding))
            console.flush()
    return findings


def _line(finding: Finding) -> str:
    text = f"{finding.outcome:8} {finding.check:24} {finding.text}"
    return f"{text}\n{'':33} -> {finding.advice}" if finding.advice else text


def _total(findings: list[Finding]) -> str:
    numbers = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    parts = [f"{number} {outcome}" for outcome, number in numbers.items() if number]
    return f"{len(findings)} checks: {', '.join(parts)}"
