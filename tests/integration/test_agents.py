"""The agents that come with Agora, on the real engine."""

import json
from pathlib import Path

import pytest
from pypdf import PdfReader

from agora.documents.read import read_document
from agora.errors import SettingsError
from agora.files.service import open_file
from agora.jobs import service
from agora.jobs.types import Submission
from tests.support.rig import Rig
from workers.agents import AGENTS
from workers.loader import load_agents
from workers.ports import ports

DEMO = Path(__file__).parents[2] / "examples" / "requirements.md"
SNAPSHOT = {
    ("conflict_detector", "detect", 1): ["collect", "compare", "summarise"],
    ("context_analyzer", "extract", 1): ["read_document", "find_candidates", "check_candidates", "summarise"],
    ("export", "render", 1): ["collect", "write"],
    ("project_manager", "bootstrap", 1): [
        "read_document",
        "extract_specifications",
        "check_contradictions",
        "score_coverage",
        "record",
        "render_reports",
        "summarise",
    ],
    ("quality_controller", "check_coverage", 1): ["collect", "judge"],
}


def by_name(name):
    return next(agent for agent in AGENTS if agent.name == name)


def run(monkeypatch, name, action, value, team_id=None):
    """Run one job of an agent to its end."""
    rig = Rig(monkeypatch, by_name(name), ports=ports)
    rig.team_id = team_id or rig.team_id
    job = service.submit(Submission(agent=name, action=action, input=value), team_id=rig.team_id).job
    rig.run()
    return rig, rig.job(job)


def test_renaming_a_step_needs_a_new_version():
    found = {
        (agent.name, action.name, action.version): [step.name for step in action.steps]
        for agent in AGENTS
        for action in agent.actions.values()
    }
    assert found == SNAPSHOT


def test_the_main_job_makes_a_project_and_its_report(db, monkeypatch):
    rig, job = run(monkeypatch, "project_manager", "bootstrap", {"text": DEMO.read_text()})
    assert job.status == "succeeded", job.error
    output = job.output
    assert output["specifications"] > 30
    assert output["scores"]["coverage"] == 1.0
    assert {"critical", "high"} <= {one["severity"] for one in output["conflicts"]}
    rows = rig.sql("SELECT count(*) AS n FROM specifications WHERE project_id = :id", id=output["project_id"])
    assert rows[0]["n"] == output["specifications"]
    kinds = {one["format"]: one["file_id"] for one in output["reports"]}
    assert set(kinds) == {"markdown", "html", "json", "pdf"}
    with open_file(kinds["pdf"], team_id=rig.team_id) as stream:
        assert len(PdfReader(stream).pages) >= 2
    with open_file(kinds["json"], team_id=rig.team_id) as stream:
        assert len(json.load(stream)["specifications"]) == output["specifications"]
    team_id = rig.team_id
    given = {"project_id": output["project_id"]}
    _, detected = run(monkeypatch, "conflict_detector", "detect", given, team_id)
    assert detected.output["compared"] == output["specifications"]
    assert len(detected.output["conflicts"]) == len(output["conflicts"])
    _, judged = run(monkeypatch, "quality_controller", "check_coverage", given, team_id)
    assert judged.output["scores"] == output["scores"]
    _, rendered = run(monkeypatch, "export", "render", given | {"format": "html"}, team_id)
    assert rendered.output["media_type"] == "text/html"


def test_another_teams_project_does_not_exist(db, monkeypatch):
    _, job = run(monkeypatch, "project_manager", "bootstrap", {"text": DEMO.read_text(), "formats": ["json"]})
    _, other = run(monkeypatch, "export", "render", {"project_id": job.output["project_id"]})
    assert (other.status, other.error) != ("succeeded", None)


def test_spans_lead_back_to_the_source(db, monkeypatch):
    text = DEMO.read_bytes()
    plain = read_document(text, "text/markdown", "x.md").text
    _, job = run(monkeypatch, "context_analyzer", "extract", {"text": text.decode()})
    for one in job.output["specifications"]:
        assert plain[one["span"]["start"] : one["span"]["end"]] == one["content"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("   ", "document-empty"),
        ("Das System muss innerhalb von zwei Sekunden antworten. " * 20, "document-language"),
    ],
)
def test_documents_that_cannot_be_read_end_in_a_defined_way(db, monkeypatch, text, code):
    _, job = run(monkeypatch, "project_manager", "bootstrap", {"text": text})
    assert (job.status, job.error["code"]) == ("failed", code)


def test_modules_without_agents_stop_the_worker_with_a_line():
    with pytest.raises(SettingsError, match="no module nowhere"):
        load_agents(["nowhere"])
    with pytest.raises(SettingsError, match="declares no agent"):
        load_agents(["json"])
