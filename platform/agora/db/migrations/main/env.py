from agora.db.migrations.run import run_migrations
from agora.db.types import Base

run_migrations(Base.metadata)
