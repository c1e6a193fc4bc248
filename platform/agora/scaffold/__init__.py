"""Make a new agent package: an agent, its test, its pyproject."""

import keyword
import re
import shutil
import string
import sys
import tempfile
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from agora import __version__
from agora.errors import Conflict, invalid_field

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST = 50
TAKEN = frozenset({"agora", "agora-platform", "api", "workers", "domains", "celeryconfig", "examples", "src", "tests"})
SUFFIX = ".tmpl"


def check_name(name: str) -> str:
    """The import name of a package of that name. Raises Invalid."""
    module = name.replace("-", "_")
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise invalid_field(
            "/name", "package-name",
            f"name must be 1 to {LONGEST} lower-case letters, digits and single dashes, and begin with a letter, "
            f"not {name[:100]!r}", name[:100],
        )  # fmt: skip
    if name in TAKEN or module in TAKEN or keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise invalid_field("/name", "name-taken", f"name must not be that of another module, as {name!r} is", name)
    return module


def new_package(name: str, folder: Path) -> list[Path]:
    """Write the package ``name`` into ``folder/name``; returns its files.

    Raises:
        Invalid: the name cannot name a package.
        Conflict: ``folder/name`` exists; nothing is written.
    """
    module = check_name(name)
    target = folder / name
    if target.exists():
        raise Conflict(f"{target} exists")
    folder.mkdir(parents=True, exist_ok=True)
    words = {"name": name, "module": module, "agora": __version__}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".agora-new-") as made:
        whole = Path(made) / name
        _write(files("agora.scaffold") / "template", whole, words)
        shutil.move(whole, target)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _write(template: Traversable, target: Path, words: dict[str, str]) -> None:
    target.mkdir()
    for entry in template.iterdir():
        if entry.is_dir():
            _write(entry, target / (words["module"] if entry.name == "package" else entry.name), words)
        elif entry.name.endswith(SUFFIX):
            text = string.Template(entry.read_text("utf-8")).substitute(words)
            (target / entry.name.removesuffix(SUFFIX)).write_text(text, "utf-8")
