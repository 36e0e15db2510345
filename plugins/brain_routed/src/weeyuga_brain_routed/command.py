"""`weeyuga-bench brain`: what the owner of a brain needs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import attrs
import click

from weeyuga_core.errors import ExitCode, UsageError
from weeyuga_core.model.tags import ROUTE_ENV

SCHEMA = "weeyuga.brain-check.v1"


@click.group()
def brain() -> None:
    """Check that a brain tags its telemetry."""


@brain.command()
@click.option("--brain", "brain_url", required=True, metavar="URL", help="The brain; it gets the X-Weeyuga headers.")
@click.option("--es", required=True, metavar="URL", envvar="WEEYUGA_ES_URL", help="Elasticsearch or OpenSearch.")
@click.option("--index", default="weeyuga-telemetry-*", show_default=True, help="Where its envelopes land.")
@click.option("--path", default="/v1/chat/completions", show_default=True, help="Where the calls go.")
@click.option("--model", default="default", show_default=True, help="The model that the calls name.")
@click.option("--route", envvar=ROUTE_ENV, metavar="NAME", help="Where the brain is asked to send them.")
@click.option("--auth-env", metavar="NAME", help="Name of the environment variable that holds the brain's token.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="S")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def check(
    brain_url: str,
    es: str,
    index: str,
    path: str,
    model: str,
    route: str | None,
    auth_env: str | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Send two small tagged calls and look for their tags in the brain's telemetry.

    Waits up to --timeout seconds for the envelopes. Exits with 1 when a tag is missing from one of them. Credentials of
    the store: WEEYUGA_ES_API_KEY, or WEEYUGA_ES_USER and WEEYUGA_ES_PASSWORD; its CA: WEEYUGA_ES_CA.
    """
    import asyncio

    from weeyuga_brain_routed.check import calls_to_send, findings
    from weeyuga_brain_routed.exchange import Enquiry, enquire

    for option, url in (("--brain", brain_url), ("--es", es)):
        _refuse_credentials(option, url)
    sent = calls_to_send()
    enquiry = Enquiry(
        brain=brain_url,
        store=es,
        index=index,
        path=path,
        model=model,
        route=route,
        token=_token(auth_env),
        timeout_s=timeout_s,
    )
    answer = asyncio.run(enquire(enquiry, sent))
    found = findings(sent, answer.documents)
    bad = [one for one in found if not one.ok]
    warnings = _warnings(answer.statuses, len(answer.documents), index, timeout_s)
    if as_json:
        data = {
            "benchmark_run_id": sent[0].tags["benchmark_run_id"],
            "statuses": answer.statuses,
            "envelopes": len(answer.documents),
            "headers": [attrs.asdict(one) | {"ok": one.ok} for one in found],
        }
        click.echo(
            json.dumps({"schema": SCHEMA, "ok": not bad, "verdict": None, "data": data, "warnings": warnings}, indent=2)
        )
    else:
        rows = [(one.header, ", ".join(one.sent), _state(one.state, one.needed), ", ".join(one.under)) for one in found]
        click.echo(_table([("header", "sent", "state", "under"), *rows]))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{len(bad)} of {sum(one.needed for one in found)} headers do not reach the telemetry as they should: "
        f"{', '.join(one.header for one in bad)}"
        if bad
        else f"every tag arrived, in each of {len(answer.documents)} envelopes",
        err=True,
    )
    return ExitCode.REGRESSION if bad else ExitCode.OK


def _state(state: str, needed: bool) -> str:
    return state if needed or state == "arrived" else f"{state} (no harm: it only joins traces)"


def _warnings(statuses: Sequence[int], envelopes: int, index: str, timeout_s: float) -> list[str]:
    refused = sorted({status for status in statuses if status >= 400})
    return [
        *(f"the brain answered {status}: is --model one that it serves, and --path its own?" for status in refused),
        *([] if envelopes else [f"no envelope of these calls came to {index} within {timeout_s:g} s"]),
    ]


def _token(auth_env: str | None) -> str | None:
    if auth_env is None:
        return None
    token = os.environ.get(auth_env)
    if not token:
        raise UsageError(f"--auth-env {auth_env}: this variable is not set")
    return token


def _refuse_credentials(option: str, url: str) -> None:
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise UsageError(f"{option}: a URL is no place for credentials", hint="they come from the environment")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{option} {url}: expected http:// or https:// and a host")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows)
