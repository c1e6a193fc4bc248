"""Blueprints that refuse a query parameter nobody knows: a misspelt filter must not answer with everything.

They also do for every operation what clients rely on everywhere: sparse answers, signed cursors, tags of objects.
"""

from collections.abc import Callable
from functools import wraps
from json import JSONDecodeError
from typing import Any

from flask_smorest import Blueprint as SmorestBlueprint
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from api import conditions, shaping
from api.limits import too_deep
from api.openapi import CONDITIONAL
from api.schemas.common import Problem, Schema
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
        parse = super().arguments(schema() if isinstance(schema, type) else schema, **options)
        if options.get("location") != "query":
            return parse

        def mark(view: Callable[..., Any]) -> Any:
            @wraps(view)
            def opened(query: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
                return view(shaping.opened(query), *args, **kwargs)

            return parse(opened)

        return mark

    def sparse(self, item: type[Schema]) -> Any:
        """Let callers of a view that answers with one object choose its fields."""
        parse = self.arguments(shaping.one(item), location="query")

        def mark(view: Callable[..., Any]) -> Any:
            @wraps(view)
            def chosen(_query: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
                return view(*args, **kwargs)

            return parse(chosen)

        return mark

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Any:
        """Answer with what a view returns, by a schema."""
        write = super().response(status_code, schema, **options)

        def mark(view: Callable[..., Any]) -> Any:
            @wraps(view)
            def noted(*args: Any, **kwargs: Any) -> Any:
                return shaping.noted(view(*args, **kwargs))

            return write(noted)

        return mark

    @staticmethod
    def _prepare_response_content(data: Any) -> Any:
        return shaping.shaped(data)

    def guarded(self, view: Callable[..., Any]) -> Any:
        """Mark and document a view that heeds ``If-Match``: it passes ``conditions.expected()`` to what writes."""
        marked = self.doc(**{CONDITIONAL: True})(conditions.guarded(view))
        return self.alt_response(412, schema=Problem, description="The object is not what `If-Match` names.")(marked)
