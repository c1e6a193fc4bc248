"""Every route of the app, for tests that walk all of them."""

from dataclasses import dataclass

from api import auth
from api.app import create_app

SAMPLES = {"token": "x" * 43, "code": "not-found", "filename": "portal.css", "rest": "x"}


@dataclass(frozen=True)
class Route:
    """A method of a path, as the app declares it."""

    method: str
    rule: str
    endpoint: str
    arguments: tuple

    @property
    def is_open(self):
        return self.endpoint in auth.OPEN_ENDPOINTS or self.endpoint.partition(".")[0] in auth.OWN_DOORS

    def path(self, **values):
        """The path with these values in it; what is not given is a name that nothing has."""
        made = self.rule
        for name in self.arguments:
            value = values.get(name, SAMPLES.get(name, "nothing"))
            made = made.replace(f"<path:{name}>", value).replace(f"<{name}>", value)
        return made


def all_routes():
    """Each method of each rule, HEAD and OPTIONS aside."""
    return [
        Route(method.lower(), rule.rule, rule.endpoint, tuple(sorted(rule.arguments)))
        for rule in sorted(create_app().url_map.iter_rules(), key=lambda rule: rule.rule)
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"})
        if rule.endpoint != "static"
    ]


ROUTES = all_routes()
