"""A process of its own that serves the API to whoever writes requests to it, a line of JSON for each."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main():
    """Answer each line with a line: the status, the body and the headers."""
    from agora import broker  # noqa: PLC0415
    from api.app import create_app  # noqa: PLC0415

    broker.ring = lambda rings: True
    client = create_app().test_client()
    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        answer = client.open(asked["path"], method=asked["method"], headers=asked["headers"], json=asked["body"])
        say({"status": answer.status_code, "json": answer.get_json(silent=True), "headers": dict(answer.headers)})


def say(told):
    """Tell whoever started this."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Process:
    """The other end of such a process."""

    def __init__(self, env):
        env = env | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.support.reading"], env=env, cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self):
        """Until it listens."""
        assert "ready" in json.loads(self._popen.stdout.readline())

    def ask(self, path, token, *, team=None, method="GET", body=None):
        """One request; the answer as a dict."""
        headers = {"Authorization": f"Bearer {token}"} | ({"Agora-Team": team} if team else {})
        asked = {"path": path, "method": method, "headers": headers, "body": body}
        self._popen.stdin.write(json.dumps(asked) + "\n")
        self._popen.stdin.flush()
        return json.loads(self._popen.stdout.readline())

    def stop(self):
        """End it."""
        self._popen.kill()
        self._popen.communicate()


class Here:
    """The same in the test's own process."""

    def __init__(self, app):
        self._client = app.test_client()

    def ask(self, path, token, *, team=None, method="GET", body=None):
        """As that of a process."""
        headers = {"Authorization": f"Bearer {token}"} | ({"Agora-Team": team} if team else {})
        answer = self._client.open(path, method=method, headers=headers, json=body)
        return {"status": answer.status_code, "json": answer.get_json(silent=True), "headers": dict(answer.headers)}


class Source:
    """What is cached: counts how often it is read."""

    def __init__(self, value="a"):
        self.value, self.reads = value, 0

    def __call__(self):
        self.reads += 1
        return self.value


if __name__ == "__main__":
    main()
