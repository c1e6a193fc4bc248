"""How a worker finds its agents: by module, by entry point, and what it says of those that are no good."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from agora.errors import SettingsError
from agora.settings import environment
from workers import loader
from workers.loader import load_agents

GOOD = """
from agora.agents import Agent
from pydantic import BaseModel

class Thing(BaseModel):
    n: int = 1

agent = Agent("{name}")
go = agent.action("go", input=Thing, output=Thing)

@go.step
def only(ctx) -> Thing:
    return ctx.input
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes importable modules; returns their names."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    yield make
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def installed(monkeypatch):
    """Pretends that packages with these entry points are installed: ``{name: value}``."""

    def pretend(*pairs):
        points = EntryPoints(EntryPoint(name=name, value=value, group=loader.GROUP) for name, value in pairs)
        monkeypatch.setattr(loader, "entry_points", lambda *, group: points.select(group=group))

    pretend()
    return pretend


def names(words):
    return [agent.name for agent in load_agents(words)]


def test_installed_packages_are_found_by_entry_point(module, installed):
    module("third_one", GOOD.format(name="one"))
    module("third_two", GOOD.format(name="two"))
    installed(("one", "third_one:agent"), ("two", "third_two"))
    assert names(["installed"]) == ["one", "two"]
    assert names(["two"]) == ["two"]
    assert names(["workers.agents", "installed"])[-2:] == ["one", "two"]
    assert names(["third_one:agent", "installed"]) == ["one", "two"], "the same agent counts once"


def test_a_broken_installed_package_is_left_out_loudly_and_a_named_one_stops_the_worker(module, installed, caplog):
    module("third_one", GOOD.format(name="one"))
    module("third_bad", "import nowhere_to_be_found")
    told = []
    installed(("bad", "third_bad:agent"), ("one", "third_one:agent"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader.log, "error", lambda event, **fields: told.append((event, fields["reason"])))
        assert names(["installed"]) == ["one"]
    assert len(told) == 1
    assert "bad = third_bad:agent" in told[0][1]
    assert "No module named 'nowhere_to_be_found'" in told[0][1]
    with pytest.raises(SettingsError, match=r"bad = third_bad:agent.*cannot be imported"):
        load_agents(["bad", "installed"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def broken(:", r"SyntaxError: .*broken_module\.py, line 1\)"),
        ("1 / 0", r"ZeroDivisionError: division by zero .*broken_module\.py, line 1\)"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1", "declares no agent"),
        ("AGENTS = [1]", "declares no agent"),
        (GOOD.format(name="g").replace("output=Thing", "output=int"), "g.go: the output must be a pydantic model"),
        (GOOD.format(name="g").replace("input=Thing", "input=None"), "g.go: the input must be a pydantic model"),
    ],
)
def test_a_named_module_that_is_no_good_says_why_in_one_line(module, installed, text, told):
    module("broken_module", text)
    with pytest.raises(SettingsError, match=told) as fault:
        load_agents(["broken_module"])
    assert len(str(fault.value).splitlines()) == 1


def test_names_that_are_nothing(module, installed):
    module("third_one", GOOD.format(name="one"))
    with pytest.raises(SettingsError, match="no module nowhere, and no entry point nowhere"):
        load_agents(["nowhere"])
    with pytest.raises(SettingsError, match="third_one has no agnet"):
        load_agents(["third_one:agnet"])
    installed(("one", "third_one:agent"), ("one", "third_one:agent"))
    with pytest.raises(SettingsError, match="entry point one is declared by"):
        load_agents(["one"])


def test_two_agents_that_declare_the_same_version_stop_the_worker(module, installed):
    module("third_one", GOOD.format(name="same"))
    module("third_two", GOOD.format(name="same"))
    installed(("one", "third_one:agent"), ("two", "third_two:agent"))
    with pytest.raises(SettingsError, match=r"same\.go version 1 is declared by .*third_one.* and by .*third_two"):
        load_agents(["installed"])


def test_the_check_says_what_is_wrong_in_one_line(module, tmp_path):
    module("broken_module", "def broken(:")
    for words, code in (("broken_module", 1), ("workers.agents", 0)):
        done = subprocess.run(
            [sys.executable, "-m", "workers.loader"], capture_output=True, text=True, check=False,
            env=environment() | {"AGORA_AGENTS": words, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == code
        assert len(done.stderr.splitlines()) == code, done.stderr
