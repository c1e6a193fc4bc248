"""Two databases, auth and main: engines, sessions, migrations, partitions."""
