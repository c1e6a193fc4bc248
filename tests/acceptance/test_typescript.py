"""The TypeScript client: typed by the running server's document, compiled, and walking through its API."""

import json
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest

from agora.api_versions import OLDEST
from api.app import create_app

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(180)]
CLIENT = Path(__file__).parents[2] / "clients" / "typescript"
AGORA = Path(sys.executable).with_name("agora")


def run(*command, env=None):
    ended = subprocess.run(command, cwd=CLIENT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def token_of(running):
    """The access token of a user."""
    account = {"email": f"{uuid.uuid4()}@example.test", "password": "four brown owls at night"}
    run(AGORA, "users", "create", account["email"], "--password", account["password"], env=running.platform.env)
    url = f"{running.platform.url}/api/v1/auth/sign-in"
    asked = urllib.request.Request(url, json.dumps(account).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=15) as answered:
        return json.load(answered)["access_token"]


def test_it_is_generated_compiled_and_walks_through_the_api(running):
    run("npm", "run", "--silent", "generate", "--", f"{running.platform.url}/api/v1/openapi.json")
    run("npm", "run", "--silent", "build")
    old = running.api.create_key("old", ["*"])
    running.api.pin_key(old["id"], OLDEST)
    keys = (running.platform.api_key, old["secret"], token_of(running))
    said = run("node", "dist/test/walk.js", running.platform.url, *keys)
    assert "job.succeeded" in said


def test_what_it_does_with_busy_lost_and_streaming_servers(tmp_path):
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(create_app().extensions["agora-api"].spec.to_dict()))
    run("npm", "run", "--silent", "generate", "--", document)
    run("npm", "run", "--silent", "build")
    run("node", "--test", "dist/test/wire.js")


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
