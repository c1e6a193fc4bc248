"""The TypeScript client: typed by the running server's document, compiled, and walking through its API."""

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(180)]
CLIENT = Path(__file__).parents[2] / "clients" / "typescript"


def run(*command):
    ended = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_it_is_generated_compiled_and_walks_through_the_api(running):
    run("npm", "run", "--silent", "generate", "--", f"{running.platform.url}/api/v1/openapi.json")
    run("npm", "run", "--silent", "build")
    said = run("node", "dist/test/walk.js", running.platform.url, running.platform.api_key)
    assert "job.succeeded" in said


def test_a_client_that_does_not_fit_the_document_does_not_compile(running):
    """The compiler would notice: a path of which the document knows nothing is refused."""
    run("npm", "run", "--silent", "generate", "--", f"{running.platform.url}/api/v1/openapi.json")
    schema = CLIENT / "src" / "schema.ts"
    schema.write_text(schema.read_text().replace('"/api/v1/jobs/{job_id}"', '"/api/v1/gone/{job_id}"'))
    ended = subprocess.run(
        ["npx", "tsc", "--noEmit"], cwd=CLIENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert "/api/v1/jobs/{job_id}" in ended.stdout
