"""Blueprints that refuse a query parameter nobody knows: a misspelt filter must not answer with everything."""

from typing import Any

from flask_smorest import Blueprint as SmorestBlueprint
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MultiDict

from api.versions import translate


class StrictParser(FlaskParser):
    """Leaves unknown query parameters to the schema, which raises, instead of dropping them.

    What an older version of the API sends is made into what the newest, which the schema knows, would.
    """

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": None}  # noqa: RUF012  # webargs'

    def load_json(self, req: Any, schema: Any) -> Any:
        """The body of the request."""
        given = super().load_json(req, schema)
        return given if given is missing else translate.newer_body(given)

    def load_querystring(self, req: Any, schema: Any) -> Any:
        """The query of the request."""
        given = req.args.to_dict(flat=False)
        newer = translate.newer_query(given)
        if newer is given:
            return super().load_querystring(req, schema)
        return self._makeproxy(MultiDict(newer), schema)


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # untyped
    """A blueprint of this API."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: Any, **options: Any) -> Any:
        """Parse a request by a schema, which is made once: webargs would make one of a class for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)
