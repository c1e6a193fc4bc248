"""Blueprints that refuse a query parameter nobody knows: a misspelt filter must not answer with everything."""

from json import JSONDecodeError
from typing import Any

from flask_smorest import Blueprint as SmorestBlueprint
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest

from api.limits import too_deep


class StrictParser(FlaskParser):
    """Leaves unknown query parameters to the schema, which raises, instead of dropping them."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": None}  # noqa: RUF012  # webargs'

    def _raw_load_json(self, req: Any) -> Any:
        """The body's JSON. Raises Invalid and BadRequest for JSON that Python does not read."""
        try:
            return super()._raw_load_json(req)
        except RecursionError:
            raise too_deep() from None
        except (JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:
            raise BadRequest("a number in the body has too many digits") from None


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # untyped
    """A blueprint of this API."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: Any, **options: Any) -> Any:
        """Parse a request by a schema, which is made once: webargs would make one of a class for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)
