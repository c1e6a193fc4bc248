"""Domains: the base is as designed, and a bad file says where and why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agora.language.embedded import EmbeddedAnalyst
from domains.loader import HERE, DomainError, load_domain, load_domains

TARGETS = {
    "goals": 10, "requirements": 15, "tech_stack": 12, "scalability": 8, "security": 10, "performance": 8, "testing": 8,
    "monitoring": 6, "data_retention": 5, "disaster_recovery": 8,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "base", tmp_path / "base")
    return tmp_path


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def add_child(root: Path, name: str, extends: list[str]) -> None:
    (root / name).mkdir()
    head = {"id": name, "name": name, "version": "1.0.0", "extends": extends}
    (root / name / "domain.json").write_text(json.dumps(head), encoding="utf-8")


def test_the_base_has_the_ten_categories_and_their_targets() -> None:
    base = load_domain("base")
    assert base.targets == TARGETS
    assert list(base.targets) == list(TARGETS)
    assert sum(base.targets.values()) == 90
    assert all(category.terms and category.aspects for category in base.lexicon.categories)
    assert {entry.kind for entry in base.lexicon.bias} == {"solution", "technology", "leading"}
    assert {entry.weight for entry in base.lexicon.bias} == {0.3, 0.4, 0.5}


def test_no_term_is_given_twice_in_a_category() -> None:
    for category in load_domain("base").lexicon.categories:
        patterns = [term.pattern for term in category.terms]
        assert len(patterns) == len(set(patterns)), [p for p in patterns if patterns.count(p) > 1]


def test_all_shipped_domains_load() -> None:
    loaded = load_domains()
    assert loaded.errors == ()
    assert "base" in loaded.domains


@pytest.mark.parametrize(
    ("file", "change", "path", "reason"),
    [
        ("domain.json", lambda v: v.pop("name"), "", "name"),
        ("domain.json", lambda v: v.update(surplus=1), "", "surplus"),
        ("domain.json", lambda v: v.update(id="other"), "/id", "folder"),
        ("domain.json", lambda v: v["categories"][2].update(target=-1), "/categories/2/target", "-1"),
        ("domain.json", lambda v: v["categories"].append(v["categories"][0]), "/categories/10/name", "twice"),
        ("domain.json", lambda v: v["categories"][3].update(name="unknown"), "/categories/3/name", "no entry"),
        ("lexicon.json", lambda v: v["categories"]["goals"]["terms"].update({"2": ["a(b*"]}), "", "a(b*"),
        (
            "lexicon.json",
            lambda v: v["categories"]["goals"]["terms"].update({"2": ["ab*"]}),
            "/categories/goals/terms/2/0",
            "ab*",
        ),
        (
            "lexicon.json",
            lambda v: v["categories"]["goals"]["terms"].update({"heavy": ["x"]}),
            "/categories/goals/terms",
            "heavy",
        ),
        ("units.json", lambda v: v["units"][0].update(factor=0), "/units/0/factor", "0"),
        ("cues.json", lambda v: v["words"].pop("stop"), "/words", "stop"),
        ("technologies.json", lambda v: v["groups"][0].update(strict="yes"), "/groups/0/strict", "yes"),
        ("bias.json", lambda v: v["bias"][0].update(kind="odd"), "/bias/0/kind", "odd"),
    ],
)
def test_a_bad_file_names_file_path_and_reason(
    root: Path, file: str, change: Callable[[Any], None], path: str, reason: str
) -> None:
    edit(root / "base" / file, change)
    if reason == "a(b*":
        assert load_domain("base", root)  # signs other than * are text
        return
    with pytest.raises(DomainError) as caught:
        load_domain("base", root)
    assert caught.value.file == f"base/{file}"
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert f"base/{file}" in str(caught.value)


def test_what_is_no_json(root: Path) -> None:
    (root / "base" / "cues.json").write_text("{", encoding="utf-8")
    with pytest.raises(DomainError, match=r"base/cues.json: is not JSON"):
        load_domain("base", root)


def test_a_missing_domain(root: Path) -> None:
    with pytest.raises(DomainError, match=r"nowhere/domain.json: cannot be read"):
        load_domain("nowhere", root)


def test_a_domain_takes_from_its_parent_what_it_lacks(root: Path) -> None:
    add_child(root, "child", ["base"])
    child = load_domain("child", root)
    assert child.extends == ("base",)
    assert child.lexicon == load_domain("base", root).lexicon
    assert EmbeddedAnalyst(child.lexicon)


def test_parts_missing_altogether(root: Path) -> None:
    add_child(root, "lonely", [])
    with pytest.raises(DomainError, match="neither it nor a domain that it extends has categories"):
        load_domain("lonely", root)


def test_circles_and_unknown_parents(root: Path) -> None:
    add_child(root, "one", ["two"])
    add_child(root, "two", ["one"])
    add_child(root, "three", ["nobody"])
    with pytest.raises(DomainError, match="one -> two -> one"):
        load_domain("one", root)
    with pytest.raises(DomainError, match=r"three/domain.json at /extends/0: there is no domain named 'nobody'"):
        load_domain("three", root)


def test_a_bad_domain_does_not_stop_the_others(root: Path) -> None:
    add_child(root, "bad", ["nobody"])
    add_child(root, "good", ["base"])
    loaded = load_domains(root)
    assert sorted(loaded.domains) == ["base", "good"]
    assert [error.file for error in loaded.errors] == ["bad/domain.json"]
