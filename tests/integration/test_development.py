"""In development, a registered action version may get another shape, unless open jobs were made by the old one."""

import pytest

from agora.jobs import catalogue, service
from agora.jobs.catalogue import CatalogueConflict
from agora.settings import get_settings
from tests.support.probes import agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def dev(monkeypatch):
    def switch(on):
        monkeypatch.setenv("AGORA_DEV", on)
        get_settings.cache_clear()

    yield switch
    monkeypatch.delenv("AGORA_DEV", raising=False)
    get_settings.cache_clear()


def old(ctx) -> int:
    return 1


def new(ctx) -> int:
    return 2


def last(ctx):
    return {"n": 5}


def register(agent):
    catalogue.register_worker(list(agent.actions.values()), worker_id="wrk_x", hostname="here", pid=1)


def steps_of(name):
    return [step["name"] for step in service.get_agent(name)[0].steps]


def test_another_shape_is_refused_unless_in_development_and_unused(monkeypatch, dev):
    rig = Rig(monkeypatch, agent_with(go=[old, last]))
    job = rig.submit("go")
    changed = agent_with(go=[new, last])
    with pytest.raises(CatalogueConflict, match="give the changed action a new version"):
        register(changed)
    dev("1")
    with pytest.raises(CatalogueConflict, match="1 open jobs were made by it; end them"):
        register(changed)
    assert steps_of("probe") == ["old", "last"]
    rig.run()
    assert rig.job(job).status == "succeeded"
    register(changed)
    assert steps_of("probe") == ["new", "last"]
    rig.agent = changed
    rig.engine = rig.worker()
    again = rig.submit("go")
    rig.run()
    assert [step.name for step in rig.job(again).steps] == ["new", "last"]
    dev("")
    with pytest.raises(CatalogueConflict):
        register(agent_with(go=[old, last]))
