"""The whole platform behind PgBouncer in transaction mode, with far fewer sessions than clients."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.clock import now
from agora.db import engines
from agora.db.session import statement, transaction
from agora.errors import SettingsError
from agora.runtime.up import Platform
from agora.settings import Settings, get_settings, override_environment
from tests.acceptance.conftest import PROCESSES, SCALED, Running, until
from tests.conftest import clone
from tests.support.pgbouncer import PgBouncer
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(180)]

SESSIONS = 5
JOBS = 100
EFFECTS = "SELECT count(*), count(DISTINCT key) FROM effects WHERE split_part(key, ':', 1) = ANY(%s)"


@pytest.fixture(scope="module")
def bouncer(postgres, templates):
    assert PgBouncer.is_installed(), "Debian: apt-get install pgbouncer"
    with PgBouncer(postgres, sessions=SESSIONS) as running:
        yield running


@pytest.fixture(scope="module")
def settings(bouncer, postgres, templates):
    """Of a platform whose databases are reached through the pooler, but for migrations."""
    for name, template in zip(("main", "auth"), templates, strict=True):
        clone(postgres, template, f"pooled_{name}")
    return {
        "DATABASE_URL": bouncer.url("pooled_main"),
        "AUTH_DATABASE_URL": bouncer.url("pooled_auth"),
        "DATABASE_DIRECT_URL": postgres.url("pooled_main"),
        "AUTH_DATABASE_DIRECT_URL": postgres.url("pooled_auth"),
        "AGORA_DB_POOLER": "transaction",
    }


@pytest.fixture(scope="module")
def running(settings, tmp_path_factory):
    own = Settings(
        database_url=settings["DATABASE_URL"], auth_database_url=settings["AUTH_DATABASE_URL"],
        db_pooler="transaction", port=18680, flower_port=16055,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("pooled")
    with Platform(data_dir=folder, settings=own, env=SCALED | settings, only=PROCESSES) as platform:
        found = Running(platform)
        found.sql("CREATE TABLE IF NOT EXISTS effects (key text)")
        until(lambda: any(one["live_workers"] for one in found.api.agents()), what="a worker registered")
        yield found
        found.api.close()


def test_jobs_retries_questions_webhooks_and_a_schedule(running, bouncer):
    api, receiver = running.api, Receiver()
    try:
        url = f"http://127.0.0.1:{receiver.port}/ends"
        api.create_endpoint(url, event_types=["job.succeeded"])
        soon = api.create_schedule("soon", "probe", "quick", {"name": "soon"}, at=now() + timedelta(seconds=2))
        lost = running.submit("lost", seconds=1.0)
        until(lambda: api.get_job(lost)["status"] == "running", what="it runs")
        running.platform.processes.stop("worker")
        running.platform.processes.start("worker")
        asks = running.submit("asks", "asks")
        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(lambda n: running.submit(f"job-{n}", "quick" if n % 2 else "chain"), range(JOBS)))
        until(lambda: api.get_job(asks)["status"] == "waiting", what="the question")
        api.give_input(asks, 7)
        ended = [running.ended(job) for job in [*jobs, asks, lost]]
        assert {one["status"] for one in ended} == {"succeeded"}
        assert running.sql(EFFECTS, [*jobs, lost]) == [(JOBS + 1, JOBS + 1)]
        until(lambda: len(receiver.got["/ends"]) >= JOBS + 2, what="the webhooks")
        until(lambda: api.list_jobs(schedule=soon["id"], status="succeeded")["items"], what="the schedule fired")
    finally:
        receiver.close()
    clients, servers = bouncer.console("SHOW CLIENTS"), bouncer.console("SHOW SERVERS")
    assert len([one for one in clients if one["database"] == "pooled_main"]) > SESSIONS
    assert len([one for one in servers if one["database"] == "pooled_main"]) <= SESSIONS


def test_a_worker_that_dies_loses_nothing(running):
    job = running.submit("dies", "poison")
    assert running.ended(job)["error"]["code"] == "worker-lost"


@pytest.fixture
def here(settings, running):
    """This process's own engines, behind the pooler."""
    engines.dispose_all()
    with override_environment(SCALED | settings):
        yield
        engines.dispose_all()


WANTED = "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'jit', 'enable_seqscan')"


def test_every_session_is_as_agora_wants_it_and_nothing_leaks_into_it(here):
    seen = []
    for _ in range(30):
        with transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = 1234"))
            session.execute(text("SELECT set_config('lock_timeout', '777', true)"))
        with statement() as direct:
            found = dict(direct._connection.execute(WANTED).fetchall())
            assert found == {"TimeZone": "UTC", "jit": "off", "enable_seqscan": "off"}
        with transaction() as session:
            assert session.execute(text("SHOW statement_timeout")).scalar() == "0"
            assert session.execute(text("SHOW lock_timeout")).scalar() == "0"
            assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "5s"
            seen.append(session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar())
    assert set(seen) == {0}


def test_a_session_without_the_settings_is_refused_until_it_has_them(here, bouncer, postgres, templates):
    clone(postgres, templates[0], "pooled_other")
    urls = {"DATABASE_URL": bouncer.url("pooled_other"), "DATABASE_DIRECT_URL": postgres.url("pooled_other")}
    with override_environment(urls):
        engines.dispose_all()
        with pytest.raises(SettingsError, match="enable_seqscan is 'on' and must be 'off'") as refused, statement():
            pass
        assert "agora db upgrade" in str(refused.value)
        engines.set_defaults(get_settings())
        bouncer.console("RECONNECT pooled_other")
        until(is_let_in, what="new sessions have them")


def is_let_in():
    """Whether a transaction begins now."""
    try:
        with transaction() as session:
            return session.execute(text("SHOW enable_seqscan")).scalar() == "off"
    except SettingsError:
        return False


def test_without_the_setting_the_pooler_refuses_what_it_cannot_keep(here, settings):
    with override_environment({"AGORA_DB_POOLER": "none"}), pytest.raises(Exception, match="options"):
        engines.engine().connect()
