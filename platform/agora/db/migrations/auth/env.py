from agora.db.migrations.run import run_migrations
from agora.db.types import AuthBase

run_migrations(AuthBase.metadata)
