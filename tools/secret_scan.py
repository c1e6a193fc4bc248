"""Looks for secrets in whatever git would commit: `make lint` runs it.

The patterns are those of detect-secrets, and some of our own. Its own scan tries each line with each of them and takes
a minute; here each of them reads a file as a whole. Only what has a certain form is looked for, and nothing is guessed
by entropy: a scan with many false alarms is one that nobody reads.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector

ROOT = Path(__file__).resolve().parents[1]
KNOWN = Path(__file__).with_name("known_secrets.txt")
"""Fingerprints of what is no secret: examples of documentation and tests. A line: fingerprint, path, why."""
OWN = {
    "an API key of Agora": re.compile(r"\bagora_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\b"),
    "a secret of webhooks": re.compile(r"\bwhs(?:ec|k)_[A-Za-z0-9+/]{32,}={0,2}"),
    "a private key as JWK": re.compile(r'"d"\s*:\s*"[A-Za-z0-9_-]{43,}"'),
}
PLACEHOLDER = re.compile(r"//[^:]*:(?:password|pass|p|x|\{[^}]*\})@", re.IGNORECASE)
"""What stands for a password in an example, or is filled in."""
NOT_WANTED = frozenset({"Public IP (ipv4)"})
LARGEST = 8 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """What may be a secret. ``fingerprint`` stands for it in the list of known ones."""

    path: str
    line: int
    kind: str
    fingerprint: str


def patterns() -> dict[str, list[re.Pattern[str]]]:
    """By what they find."""
    kinds: Any = get_mapping_from_secret_type_to_class()
    found: dict[str, list[re.Pattern[str]]] = {
        name: list(kind.denylist)
        for name, kind in kinds.items()
        if issubclass(kind, RegexBasedDetector) and name not in NOT_WANTED
    }
    return found | {name: [pattern] for name, pattern in OWN.items()}


def files_of(root: Path) -> Iterator[Path]:
    """What git has, or would take; lock files aside, which are hashes only."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    for name in listed:
        path = root / name
        if name and not name.endswith(".lock") and path.is_file() and path.stat().st_size <= LARGEST:
            yield path


def scan(path: Path, name: str, wanted: dict[str, list[re.Pattern[str]]]) -> Iterator[Finding]:
    """What one file holds."""
    text = path.read_bytes().decode("utf-8", "replace")
    for kind, found in wanted.items():
        for pattern in found:
            for match in pattern.finditer(text):
                if PLACEHOLDER.search(match[0]):
                    continue
                fingerprint = hashlib.sha256(match[0].encode()).hexdigest()[:16]
                yield Finding(name, text.count("\n", 0, match.start()) + 1, kind, fingerprint)


def known(path: Path = KNOWN) -> frozenset[tuple[str, str]]:
    """Fingerprint and path of what is no secret."""
    lines = (line.split(maxsplit=2) for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return frozenset((line[0], line[1]) for line in lines)


def main(root: Path = ROOT) -> int:
    """Say what is found; 1 if there is anything, or if the list names what is there no more."""
    wanted, allowed = patterns(), known() if root == ROOT else frozenset()
    every = [found for path in files_of(root) for found in scan(path, str(path.relative_to(root)), wanted)]
    new = {one for one in every if (one.fingerprint, one.path) not in allowed}
    for one in sorted(new, key=lambda one: (one.path, one.line)):
        print(f"{one.path}:{one.line}: {one.kind}; if it is none: {one.fingerprint} {one.path} <why> in {KNOWN.name}")
    gone = allowed - {(one.fingerprint, one.path) for one in every}
    for fingerprint, path in sorted(gone):
        print(f"{KNOWN.name}: {fingerprint} {path} is there no more")
    return 1 if new or gone else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
