"""What the migrations make is what the models say."""

import re

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

import agora.audit.models
import agora.batches.models
import agora.bulk.models
import agora.events.models
import agora.files.models
import agora.idempotency.models
import agora.identity.models
import agora.jobs.limit_models
import agora.jobs.models
import agora.projects.models
import agora.quotas.models
import agora.retention.models
import agora.schedules.models
import agora.teams.models
import agora.webhooks.models  # noqa: F401  # every table, whoever imported what
from agora.db.engines import engine
from agora.db.types import AuthBase, Base

METADATA = {"main": Base.metadata, "auth": AuthBase.metadata}


# SQLAlchemy reads a check that is NOT VALID with an option that it does not take itself.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
@pytest.mark.parametrize("database", ["main", "auth"])
def test_the_migrated_schema_is_that_of_the_models(db, database):
    def ours(thing, name, kind, reflected, _other):
        partition = kind == "table" and reflected and re.search(r"_(\d{4}_\d{2}|default)$", name)
        return not partition and name not in {"alembic_version", "ledger"}  # the latter is a test's own

    options = {"include_object": ours, "compare_type": True, "compare_server_default": False}
    with engine(database).connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA[database]) == []


def test_the_check_of_a_column_that_came_later_looks_at_no_job_that_there_was(db):
    """The migration would lock the table meanwhile. What is written is checked."""
    find = text("SELECT convalidated FROM pg_constraint WHERE conname = 'jobs_request_id_check'")
    with engine("main").connect() as connection:
        assert connection.execute(find).scalars().all() == [False]
