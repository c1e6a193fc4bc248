"""The embedded default: Postgres and Valkey from wheels, and a supervisor that runs the Procfile."""
