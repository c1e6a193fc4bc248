"""Find the platform that runs on this machine."""

import json
from pathlib import Path

from agora.client.http import Agora
from agora.settings import get_settings


def local(data_dir: Path | None = None) -> Agora:
    """A client of the platform that `agora up` or `agora dev` runs on a data directory, with its development key.

    Raises:
        FileNotFoundError: none runs there.
    """
    directory = data_dir or get_settings().data_dir
    run = directory / "run.json"
    if not run.exists():
        raise FileNotFoundError(f"no platform runs on {directory}: start one with `agora up`")
    known = json.loads(run.read_text())
    return Agora(known["url"], known["api_key"])
