"""`agora agents new`, and how `agora dev` finds what is developed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agora.errors import Conflict, Invalid, SettingsError
from agora.runtime.dev import find_targets, look, platform_environment
from agora.scaffold import check_name, new_package
from agora.settings import environment


def test_the_new_package_is_whole_and_its_tests_pass(tmp_path):
    files = {str(path.relative_to(tmp_path)) for path in new_package("order-desk", tmp_path)}
    assert files == {
        "order-desk/README.md",
        "order-desk/pyproject.toml",
        "order-desk/src/order_desk/__init__.py",
        "order-desk/src/order_desk/agent.py",
        "order-desk/tests/test_agent.py",
    }
    project = tomllib.loads((tmp_path / "order-desk/pyproject.toml").read_text())["project"]
    assert project["entry-points"]["agora.agents"] == {"order_desk": "order_desk.agent:agent"}
    assert not [path for path in tmp_path.rglob("*.py") if "$" in path.read_text()]
    # The sources of this test run, whichever Agora is installed beside them.
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path / "order-desk", capture_output=True, text=True,
        check=False, env=environment() | {"PYTHONPATH": f"{root / 'platform'}:{root}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "package-name"),
        ("Order", "package-name"),
        ("1st", "package-name"),
        ("a--b", "package-name"),
        ("-a", "package-name"),
        ("../x", "package-name"),
        ("a.b", "package-name"),
        ("ö", "package-name"),
        ("a" * 51, "package-name"),
        ("json", "name-taken"),
        ("class", "name-taken"),
        ("agora", "name-taken"),
        ("workers", "name-taken"),
    ],
)
def test_a_name_that_cannot_name_a_package_is_refused(tmp_path, name, rule):
    with pytest.raises(Invalid) as refused:
        new_package(name, tmp_path)
    assert (refused.value.errors[0].pointer, refused.value.errors[0].rule) == ("/name", rule)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    assert check_name("order-desk") == "order_desk"
    (tmp_path / "mine").mkdir()
    with pytest.raises(Conflict, match="mine exists"):
        new_package("mine", tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_what_is_developed_is_found_by_folder_file_and_module(tmp_path):
    new_package("order-desk", tmp_path)
    package = tmp_path / "order-desk"
    by_folder = find_targets(["order-desk"], tmp_path)
    assert by_folder.agents == ("order_desk.agent:agent",)
    assert by_folder.python_path == by_folder.watched == (package / "src",)
    assert find_targets([], package) == by_folder
    (tmp_path / "one.py").write_text("")
    by_file = find_targets(["one.py"], tmp_path)
    assert (by_file.agents, by_file.python_path, by_file.watched) == (("one",), (tmp_path,), (tmp_path / "one.py",))
    by_module = find_targets(["one:agent"], tmp_path)
    assert (by_module.agents, by_module.watched) == (("one:agent",), (tmp_path / "one.py",))
    made = platform_environment(by_folder)
    assert made["AGORA_AGENTS"].endswith("order_desk.agent:agent")
    assert made["PYTHONPATH"].split(":")[0] == str(package / "src")


@pytest.mark.parametrize(
    "word", ["nowhere", "nowhere.at.all", "no/folder", "missing.py", "empty", "broken", "agentless"]
)
def test_what_is_not_there_is_named(tmp_path, word):
    (tmp_path / "empty").mkdir()
    for name, text in (("broken", "[project"), ("agentless", "[project]\nname = 'x'")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=f"^{word}: "):
        find_targets([word], tmp_path)


def test_a_look_sees_python_files_only_and_no_environment(tmp_path):
    for name in ("a.py", "b.txt", "deep/c.py", "__pycache__/d.py", ".hidden/e.py", "env/lib/f.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    seen = look([tmp_path])
    assert {str(path.relative_to(tmp_path)) for path in seen} == {"a.py", "deep/c.py"}
    (tmp_path / "a.py").write_text("x = 1")
    assert look([tmp_path]) != seen
