"""The scan for secrets, and the audit of packages: both must fail when they should."""

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tools import audit, secret_scan

PLANTED = {
    "github": "token = 'ghp_" + "a1B2" * 9 + "'",
    "aws": "key = 'AKIA" + "ABCD" * 4 + "'",
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "url": "postgresql://agora:" + "hunter2hunter2@db.example/agora",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.{}.{}".format("eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N" * 2),
    "ours": "agora_" + "0123abcd" + "_" + "A" * 43,
    "webhook": "whsec_" + "QUJD" * 12,
    "jwk": '{"kty": "OKP", "' + 'd": "' + "a" * 43 + '"}',
}


@pytest.fixture
def checkout(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "fine.py").write_text("password = settings.password\nurl = f'postgresql://agora:{password}@db'\n")
    return tmp_path


def test_a_tree_without_secrets_passes(checkout, capsys):
    assert secret_scan.main(checkout) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_secret_fails_before_it_is_added(checkout, capsys, name):
    (checkout / "planted.txt").write_text(f"one\n{PLANTED[name]}\n")
    assert secret_scan.main(checkout) == 1
    assert "planted.txt:2: " in capsys.readouterr().out


def test_what_git_ignores_is_not_looked_at(checkout):
    (checkout / ".gitignore").write_text("planted.txt\n")
    (checkout / "planted.txt").write_text(PLANTED["aws"])
    assert secret_scan.main(checkout) == 0


def test_the_list_of_known_ones_has_reasons_and_nothing_that_is_gone(monkeypatch, checkout, tmp_path, capsys):
    assert all(
        len(line.split(maxsplit=2)) == 3 for line in secret_scan.KNOWN.read_text().splitlines() if line[:1] != "#"
    )
    monkeypatch.setattr(secret_scan, "ROOT", checkout)
    monkeypatch.setattr(secret_scan, "known", lambda: frozenset({("0" * 16, "gone.py")}))
    assert secret_scan.main(checkout) == 1
    assert "is there no more" in capsys.readouterr().out


# --- the audit

LOCK = (
    "flask==3.1.3 \\\n    --hash=sha256:aa\nNumpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5\n"
    "celery[redis]==5.7.0\n"
)
PACKAGES = [("celery", "5.7.0"), ("flask", "3.1.3"), ("numpy", "2.4.6")]
FINE = [{"name": name, "version": version, "vulns": []} for name, version in PACKAGES]


def test_packages_are_read_for_every_platform_and_asked_for_without_two_versions_of_one(tmp_path):
    (tmp_path / "a.lock").write_text(LOCK)
    found = audit.pinned([tmp_path / "a.lock"])
    assert found == {*PACKAGES, ("numpy", "2.5.5")}
    assert [sorted(group) for group in audit.rounds(found)] == [PACKAGES, [("numpy", "2.5.5")]]


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        (FINE, []),
        (FINE[:2], ["numpy 2.4.6: not checked: the answer does not name it"]),
        ([*FINE[:2], {"name": "numpy", "skip_reason": "no such project"}], ["numpy: not checked: no such project"]),
        ([*FINE[:2], {"name": "numpy", "version": "2.4.7", "vulns": []}],
         ["numpy 2.4.6: not checked: the answer does not name it"]),
        ([*FINE[:2], {"name": "numpy", "version": "2.4.6"}], ["numpy: not checked: no reason given"]),
        ([*FINE[:2], FINE[2] | {"vulns": [{"id": "PYSEC-1", "fix_versions": ["2.4.8"]}]}],
         ["numpy 2.4.6: PYSEC-1, fixed in 2.4.8"]),
        ([], [f"{name} {version}: not checked: the answer does not name it" for name, version in PACKAGES]),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_fine_is_a_fault(answer, faults):
    assert audit.faults(PACKAGES, {"dependencies": answer}) == faults


class Advisories(BaseHTTPRequestHandler):
    """A service of advisories on loopback, in the form of OSV: knows a weakness of one package."""

    weak = "flask"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = {}
        if asked["package"]["name"] == self.weak:
            affected = {"package": asked["package"], "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "9.9"}]}]}
            weakness = {"id": "TEST-2026-1", "summary": "s", "details": "d", "aliases": [], "affected": [affected]}
            found = {"vulns": [weakness | {"published": "2026-01-01T00:00:00Z"}]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = HTTPServer(("127.0.0.1", 0), Advisories)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_pip_audit_is_asked_and_a_weakness_fails(tmp_path, service, capsys):
    (tmp_path / "a.lock").write_text("flask==3.1.3\nclick==8.5.0\n")
    options = ["--vulnerability-service", "osv", "--osv-url", service, "--cache-dir", str(tmp_path / "cache")]
    assert audit.main(options, [tmp_path / "a.lock"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.split(":")[0]) == ("2 packages, 1 faults\n", "flask 3.1.3")
    (tmp_path / "a.lock").write_text("click==8.5.0\n")
    assert audit.main(options, [tmp_path / "a.lock"]) == 0


def test_without_a_service_it_fails_and_says_so(tmp_path, capsys):
    (tmp_path / "a.lock").write_text("click==8.5.0\n")
    options = [
        "--vulnerability-service",
        "osv",
        "--osv-url",
        "http://127.0.0.1:1/",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    assert audit.main(options, [tmp_path / "a.lock"]) == 1
    assert "no answer" in capsys.readouterr().err
    assert audit.main([], []) == 1
