"""A caller of the HTTP API, without a server in between."""

from agora.identity import service as identity


class Caller:
    """A test client with a team's key."""

    def __init__(self, app, team="t", scopes=("*",)):
        self.team_id = identity.ensure_team(team)
        self.key = identity.create_key(self.team_id, "k", scopes).plain
        self._client = app.test_client()

    def __getattr__(self, method):
        def call(path, headers=None, **options):
            sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
            return getattr(self._client, method)(path, headers=sent, **options)

        return call
