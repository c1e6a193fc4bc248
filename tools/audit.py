"""Asks for known weaknesses of every package of the lock files: `make audit` runs it, by pip-audit.

pip-audit counts a package that it cannot look up as fine. Here that is a failure, as is an answer that does not name
each package of the locks with its version, and no answer at all.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)

Package = tuple[str, str]


def pinned(locks: Iterable[Path]) -> frozenset[Package]:
    """Name and version of each package, whichever platform it is for."""
    return frozenset((normal(name), version) for lock in locks for name, version in PINNED.findall(lock.read_text()))


def normal(name: str) -> str:
    """A name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def rounds(packages: Iterable[Package]) -> list[list[Package]]:
    """The packages in groups without two versions of one: pip-audit takes none with."""
    made: list[dict[str, Package]] = []
    for package in sorted(packages):
        group = next((one for one in made if package[0] not in one), None)
        if group is None:
            made.append(group := {})
        group[package[0]] = package
    return [list(group.values()) for group in made]


def ask(packages: Sequence[Package], options: Sequence[str]) -> dict[str, Any]:
    """What pip-audit answers. Raises RuntimeError when that is no answer."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "packages.txt"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in packages))
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps", "--disable-pip", "--strict",
            "--format", "json", "--progress-spinner", "off", *options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"no answer: {(done.stderr or done.stdout).strip()[-600:]}") from None
    return answer


def faults(packages: Sequence[Package], answer: dict[str, Any]) -> list[str]:
    """What is wrong, a line for each: weaknesses, and packages of which nothing is known."""
    found, seen = [], set()
    for one in answer.get("dependencies", []):
        name, version = normal(one["name"]), one.get("version")
        if "skip_reason" in one or version is None or "vulns" not in one:
            found.append(f"{name}: not checked: {one.get('skip_reason', 'no reason given')}")
            seen |= {package for package in packages if package[0] == name}
            continue
        seen.add((name, version))
        for weakness in one["vulns"]:
            fixed = ", ".join(weakness.get("fix_versions") or ["none"])
            found.append(f"{name} {version}: {weakness['id']}, fixed in {fixed}")
    found += [f"{name} {version}: not checked: the answer does not name it" for name, version in set(packages) - seen]
    return sorted(found)


def main(options: Sequence[str], locks: Iterable[Path] | None = None) -> int:
    """Say what is wrong; 0 only when each package was looked up and none has a known weakness."""
    packages = pinned(ROOT.glob("requirements*.lock") if locks is None else locks)
    if not packages:
        print("the lock files name no package")
        return 1
    wrong = []
    for group in rounds(packages):
        try:
            wrong += faults(group, ask(group, options))
        except RuntimeError as error:
            wrong.append(str(error))
            break
    print(*wrong, sep="\n", file=sys.stderr)
    print(f"{len(packages)} packages, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
