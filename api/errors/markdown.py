"""Writes docs/errors.md: ``python -m api.errors.markdown``."""

import sys

from api.errors.catalogue import CATALOGUE
from api.errors.rules import RULES

HEAD = """# Errors

Made from the catalogue by `make docs`; do not edit. `GET /errors/{code}` shows an entry, `GET /errors` all of them.

Every error is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), `application/problem+json`:

```json
{"type": "/errors/invalid", "title": "The request is not valid", "status": 422, "code": "invalid",
 "detail": "priority must be 0 to 9", "instance": "/api/v1/jobs", "request_id": "req_01m8…",
 "errors": [{"pointer": "/priority", "rule": "range", "message": "priority must be 0 to 9",
             "value": 12, "value_class": "integer"}]}
```

Decide by `code`, which stays; `detail` is for people and may change. `request_id` is also in the header
`X-Request-Id` of every answer and in every log line of the request; send one of your own (1 to 100 of
`A-Z a-z 0-9 . _ : -`) and it is taken.

`errors` names each field that is wrong. `pointer` is a JSON pointer into the body, or `/name` of a query parameter.
`rule` is one of those below or, in an agent's input, a keyword of JSON Schema. `value` is what came, where it is
short and no secret; `value_class` is its JSON type in any case.

## Codes
"""


def markdown() -> str:
    """The text of docs/errors.md."""
    lines = [HEAD]
    for one in CATALOGUE.values():
        again = " May succeed later as it is." if one.retry else ""
        remedy = f"**What to do.** {one.remedy}{again}"
        lines += [f"### `{one.code}` ({one.status})", "", one.meaning, "", remedy, ""]
    lines += ["## Rules of fields", "", "| rule | meaning |", "| --- | --- |"]
    lines += [f"| `{rule}` | {meaning} |" for rule, meaning in RULES.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
