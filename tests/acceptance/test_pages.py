"""Pages in a real browser: Debian's chromium, headless (make test-extra)."""

import shutil
import subprocess

import pytest

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(150)]
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000",
]  # fmt: skip


def dom_of(url, profile):
    """The page as the browser has it after loading."""
    chromium = shutil.which("chromium")
    assert chromium, "make test-extra installs or asks for chromium"
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def test_the_docs_page_shows_every_operation(session_platform, tmp_path):
    page = dom_of(f"{session_platform.platform.url}/docs", tmp_path)
    for told in ("/api/v1/jobs/{job_id}/cancel", "Submit a job.", "/api/v1/webhook-endpoints", "Bearer"):
        assert told in page
