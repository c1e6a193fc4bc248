"""The main job on a document, from nothing to a verified webhook, with everything embedded."""

import json
import queue
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import click

from agora.cli.listen import Received, Receiver, receiver
from agora.cli.progress import follow
from agora.client import Agora

PROCESSES = ("web", "worker", "worker-io", "webhooks", "dispatcher")
WEBHOOK_SECONDS = 30.0
SHOWN_CONFLICTS = 10
DOCUMENT = "requirements.md"


@click.command("demo")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("agora-demo"), show_default=True)
def demo_command(file: Path | None, out: Path) -> int:
    """Run the main job on FILE (text, Markdown, PDF or DOCX; default: a requirements document that comes with Agora).

    Starts Postgres, Valkey, the API, workers and the dispatcher, submits the document, follows the job, verifies its
    webhook, shows what was found, stops everything again.
    """
    source = file or find_document()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agora-demo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # Postgres runs as another user when root starts it
        with _platform(Path(folder)) as api, receiver(None) as here:
            _say(f"the platform is up at {api.base_url} ({time.monotonic() - began:.1f} s)")
            code = _walk(api, here, source, out)
        _say("stopping …")
    _say(f"everything is stopped; {time.monotonic() - began:.1f} s in all")
    return code


def find_document() -> Path:
    """The document that comes with Agora."""
    here = Path(__file__).resolve()
    for candidate in (
        here.parents[3] / "examples" / DOCUMENT,
        Path(str(resources.files("agora"))) / "runtime" / DOCUMENT,
    ):
        if candidate.exists():
            return candidate
    raise click.ClickException("the demo's document is missing from this installation; give a FILE")


@contextmanager
def _platform(folder: Path) -> Iterator[Agora]:
    from agora.runtime.up import Platform  # noqa: PLC0415

    _say("starting Postgres, Valkey, the API, workers and the dispatcher …")
    platform = Platform(data_dir=folder, only=PROCESSES, env={"AGORA_LOG_LEVEL": "warning"})
    with platform, Agora(platform.url, platform.api_key) as api:
        _wait_for_workers(api)
        yield api


def _wait_for_workers(api: Agora) -> None:
    deadline = time.monotonic() + 60
    while not any(one["live_workers"] for one in api.agents()):
        if time.monotonic() > deadline:
            raise click.ClickException("no worker has registered within 60 s")
        time.sleep(0.1)


def _walk(api: Agora, here: Receiver, source: Path, out: Path) -> int:
    stored = api.upload(source)
    _say(f"uploaded {source.name} ({stored['size']:,} bytes) as {stored['id']}")
    job = api.submit("project_manager", "bootstrap", {"file_id": stored["id"]}, webhook={"url": here.url})
    here.secret = job["webhook_secret"]
    _say(f"POST /api/v1/jobs answered 202: {job['id']}; it calls back {here.url}")
    code = follow(api, job["id"], as_json=False)
    ended = api.get_job(job["id"])
    _show_webhook(here)
    if code:
        error = ended["error"] or {"message": ended["status"], "code": ended["status"]}
        click.echo(f"\nthe job has {ended['status']}: {error['message']} ({error['code']})")
        return code
    _show_result(ended["output"])
    _save(api, ended["output"], out)
    return 0


def _say(text: str) -> None:
    click.echo(click.style("· ", fg="cyan") + text)


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True))


def _show_webhook(here: Receiver) -> None:
    try:
        found = here.received.get(timeout=WEBHOOK_SECONDS)
    except queue.Empty:
        raise click.ClickException(f"no webhook came within {WEBHOOK_SECONDS:.0f} s") from None
    _heading("Webhook")
    _show_headers(found)
    if found.refused is not None:
        raise click.ClickException(f"the webhook's signature is wrong: {found.refused}")
    data = found.event["data"]
    click.echo(f"  {json.dumps({'type': found.event['type'], 'job_id': data['job_id'], 'status': data['status']})}")
    click.echo(
        click.style("  signature verified", fg="green") + " (Standard Webhooks v1, HMAC-SHA256 over the exact bytes)"
    )


def _show_headers(found: Received) -> None:
    for name, value in found.headers.items():
        if name.lower().startswith("webhook-"):
            click.echo(f"  {name.lower()}: {value}")


def _show_result(output: dict[str, Any]) -> None:
    scores = output["scores"]
    _heading(output["name"])
    click.echo(
        f"  {output['specifications']} specifications, coverage {scores['coverage']:.0%}, maturity"
        f" {scores['maturity']} of 100, readiness {scores['readiness']:.2f}   (analyst: {output['analyst']})"
    )
    for category, count in sorted(output["by_category"].items(), key=lambda pair: -pair[1]):
        click.echo(f"  {category.replace('_', ' '):<18} {'■' * count} {count}")
    _heading(f"{len(output['conflicts'])} contradictions")
    for one in output["conflicts"][:SHOWN_CONFLICTS]:
        click.echo(f"  {click.style(one['severity'], fg='red', bold=True)}: {one['explanation']}")
        for side in ("left", "right"):
            click.echo(f"      “{one[side]['content']}”")
    gaps = scores["gaps"][:3]
    if gaps:
        _heading("Widest gaps")
        for gap in gaps:
            click.echo(f"  {gap['category'].replace('_', ' '):<18} {gap['reached']:.1f} of {gap['target']:g}")


def _save(api: Agora, output: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _heading("Report")
    for file in output["reports"]:
        path = out / f"report.{file['name'].rsplit('.', 1)[-1]}"
        path.write_bytes(api.download(file["file_id"]))
        click.echo(f"  {path}  ({file['media_type']}, {file['size']:,} bytes)")
    sys.stdout.flush()
