"""Who calls an operation of the OpenAPI document: a key, a user or an administrator, as its permission asks."""

from agora.identity.roles import SYSTEM_PERMISSIONS
from api import auth
from api.openapi_document import operation_id
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser

WORN_OUT = {401, 429}
"""What callers hear whom a call has signed out, or who have guessed a password too often."""


class Callers:
    """One caller of each kind, made when an operation first asks for it, and anew when it is worn out."""

    def __init__(self, app):
        self._app, self._tokens = app, {}
        with app.test_request_context():
            self._makers = {operation_id(name): self._maker(name) for name in app.view_functions}

    def _maker(self, endpoint):
        permission = auth.scope_of(endpoint)
        if permission == auth.SELF:
            return self._user
        return self._administrator if permission in SYSTEM_PERMISSIONS else self._key

    def _key(self):
        return Caller(self._app, team="fuzzed").key

    def _user(self):
        return Browser(self._app, people.sign_up()).tokens["access_token"]

    def _administrator(self):
        return people.administrator(self._app).tokens["access_token"]

    def headers(self, operation):
        """The credentials that an operation asks for. An open one gets a key as well: it passes it over, but a method
        that its path has not is asked for one."""
        make = self._makers[operation]
        if make not in self._tokens:
            self._tokens[make] = make()
        return {"Authorization": f"Bearer {self._tokens[make]}"}

    def renew(self, operation, status):
        """Whether a caller who was answered so is worn out; the next one of the kind is then somebody new."""
        return status in WORN_OUT and self._tokens.pop(self._makers[operation], None) is not None
