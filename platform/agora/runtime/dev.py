"""`agora dev`: the platform with workers that restart when an agent's files change."""

import importlib.util
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agora.errors import SettingsError
from agora.runtime.supervisor import Supervisor
from agora.settings import environment, get_settings

GROUP = "agora.agents"
LOOK_SECONDS = 0.3
"""Files are looked at this often. A stat of some hundred files costs nothing, and works where inotify does not: on
mounted folders, in containers, past the limit of watches."""
MOST_FILES = 5_000
SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist"})
WORKERS = ("worker", "worker-io")
IMPORT_SECONDS = 60.0

Seen = dict[Path, tuple[int, int]]
"""Time of change and size, by file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What is developed: words for AGORA_AGENTS, folders for PYTHONPATH, folders and files to watch."""

    agents: tuple[str, ...]
    python_path: tuple[Path, ...]
    watched: tuple[Path, ...]


def find_targets(words: Sequence[str], folder: Path) -> Targets:
    """What the words name: folders of agent packages, Python files, modules; without any, the package in ``folder``.

    Raises:
        SettingsError: a word names nothing of that kind.
    """
    found = [_find_target(word, folder.resolve()) for word in words or ["."]]
    return Targets(
        agents=tuple(name for one in found for name in one.agents),
        python_path=tuple(dict.fromkeys(path for one in found for path in one.python_path)),
        watched=tuple(dict.fromkeys(path for one in found for path in one.watched)),
    )


def platform_environment(targets: Targets) -> dict[str, str]:
    """The settings of the platform's processes, on top of this process's environment."""
    given, agents = environment(), get_settings().agents
    named = [*agents, *(word for word in targets.agents if word not in agents)]
    folders = [str(folder) for folder in targets.python_path] + [
        given[name] for name in ("PYTHONPATH",) if name in given
    ]
    made = {"AGORA_AGENTS": ",".join(named), "PYTHONPATH": os.pathsep.join(folders), "AGORA_DEV": "1"}
    # Whoever saves a file does not want to wait for the step that runs: it goes back, and begins again.
    return made | ({} if "AGORA_DRAIN_SECONDS" in given else {"AGORA_DRAIN_SECONDS": "1"})


def _find_target(word: str, folder: Path) -> Targets:
    path = (folder / word).resolve()
    if path.is_dir():
        return _package(path, word)
    if path.suffix == ".py" and path.is_file():
        return Targets(agents=(path.stem,), python_path=(path.parent,), watched=(path,))
    name = word.partition(":")[0]
    if "/" in word or word.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError(f"{word}: there is no such folder, Python file or module")
    return Targets(agents=(word,), python_path=(folder,), watched=(_file_of(name, folder),))


def _package(path: Path, word: str) -> Targets:
    """A folder with a pyproject.toml that declares agents, as `agora agents new` makes it."""
    try:
        project = tomllib.loads((path / "pyproject.toml").read_text("utf-8"))
        points = project.get("project", {}).get("entry-points", {}).get(GROUP, {})
    except FileNotFoundError:
        raise SettingsError(f"{word}: the folder has no pyproject.toml; `agora agents new NAME` makes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{word}: pyproject.toml cannot be read: {error}") from None
    if not points:
        raise SettingsError(f"{word}: its pyproject.toml has no entry point in [project.entry-points.{GROUP!r}]")
    source = path / "src" if (path / "src").is_dir() else path
    return Targets(agents=tuple(points.values()), python_path=(source,), watched=(source,))


def _file_of(name: str, folder: Path) -> Path:
    """The file of a module, or the folder of a package. Raises SettingsError."""
    kept = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path[:] = kept
    if spec is None or spec.origin is None:
        raise SettingsError(f"{name}: there is no such folder, Python file or module")
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


def look(watched: Sequence[Path]) -> Seen:
    """The Python files below the watched places, and their states."""
    seen: Seen = {}
    for place in watched:
        for path in [place] if place.is_file() else _python_files(place):
            try:
                status = path.stat()
            except OSError:
                continue  # it is just being replaced: the next look sees it
            seen[path] = (status.st_mtime_ns, status.st_size)
            if len(seen) > MOST_FILES:
                raise SettingsError(f"{place}: has more than {MOST_FILES:,} Python files; name what is to be watched")
    return seen


def _python_files(place: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(place):
        below[:] = [
            name
            for name in below
            if name not in SKIPPED and not name.startswith(".") and not (Path(folder) / name / "pyvenv.cfg").exists()
        ]
        yield from (Path(folder) / name for name in names if name.endswith(".py"))


class Reloader:
    """Restarts the workers when a watched file changes. While the agents cannot be imported, no worker runs."""

    def __init__(self, processes: Supervisor, watched: Sequence[Path], *, say: Callable[[str], None]) -> None:
        self._processes, self._watched, self._say = processes, watched, say
        self._workers = [name for name in WORKERS if name in processes.services]
        self._seen = look(watched)

    def run(self, stop: threading.Event) -> None:
        """Look until ``stop`` is set."""
        while not stop.wait(LOOK_SECONDS):
            found = look(self._watched)
            if found == self._seen:
                continue
            while not stop.wait(LOOK_SECONDS) and (later := look(self._watched)) != found:
                found = later  # an editor is still writing
            changed = sorted(path.name for path, _ in set(found.items()) ^ set(self._seen.items()))
            self._seen = found
            self._reload(", ".join(dict.fromkeys(changed)))

    def _reload(self, changed: str) -> None:
        self._say(f"{changed} changed; the workers stop")
        stoppers = [threading.Thread(target=self._processes.stop, args=(name,)) for name in self._workers]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        fault = self._fault()
        if fault:
            self._say(f"{fault}; no worker runs until that is mended")
            return
        self._say("the workers start again")
        for name in self._workers:
            self._processes.start(name)

    def _fault(self) -> str | None:
        """Why the agents cannot be imported, found out in a process of its own."""
        command = [sys.executable, "-m", "workers.loader"]
        try:
            done = subprocess.run(
                command, env=self._processes.env, capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"importing the agents takes longer than {IMPORT_SECONDS:g} s"
        return None if done.returncode == 0 else done.stderr.strip() or f"the import ended with code {done.returncode}"
