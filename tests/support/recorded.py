"""Recorded exchanges: requests with the answers that they got, replayed against the app of now.

A file is a list of exchanges. What differs each time has a name in it: ``<job:1>`` is the first id of a job that comes
up, ``<time>`` a time of now. A name in a request stands for what the same name was in an earlier answer.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "v1"
NAMED = re.compile(
    r"\b(?P<token>(?:otk|inv)_[0-7][0-9a-hjkmnp-tv-z]{25}\.[\w.-]+)"
    r"|\b(?P<recovery>[a-z2-7]{4}(?:-[a-z2-7]{4}){3})\b"
    r"|\b(?P<id>[a-z]{3,4})_[0-7][0-9a-hjkmnp-tv-z]{25}\b|(?P<key>\bagora_[0-9a-f]{8}_[\w-]{43})"
    r"|(?P<signing>\bwhs[ek]c?_[A-Za-z0-9+/=]{20,})|(?P<public>\bwhpk_[A-Za-z0-9+/=]{20,})"
    r"|(?P<portal>(?<=/webhook-portal/l/)[\w-]{43})"
    r"|(?P<time>\b20[2-8]\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))"
)
"""What is given a name wherever it stands. Times of 2090 and later are a request's own."""
BY_FIELD = {
    "next_cursor", "prefix", "access_token", "refresh_token", "run_seconds", "age_seconds", "user_agent", "uri",
    "digits",
}  # fmt: skip
"""Fields whose whole value differs each time."""
HEADERS = ("Content-Type", "Location", "Idempotent-Replayed", "Preference-Applied", "Allow", "Retry-After",
           "WWW-Authenticate", "Content-Disposition")  # fmt: skip
"""Headers of an answer that clients go by."""
REFUSED = 400
STAND_IN = re.compile(r"<[a-z_]+:\d+>")


class Names:
    """Gives a name to each thing that differs, and finds it again by its name.

    Things have the names by which they were recorded. Only what was not is counted on from there, at the end: a field
    that came since changes no other name.
    """

    def __init__(self, recorded):
        self._known = set(STAND_IN.findall(json.dumps(recorded)))
        self._named, self._counted = {}, defaultdict(int)

    def learn(self, value, was, field=""):
        """Take over the names of what was recorded in the same place."""
        if isinstance(value, dict) and isinstance(was, dict):
            for name in value.keys() & was.keys():
                self.learn(value[name], was[name], name)
        elif isinstance(value, list) and isinstance(was, list):
            for one, before in zip(value, was, strict=False):
                self.learn(one, before)
        elif isinstance(value, str) and isinstance(was, str):
            things = [value] if field in BY_FIELD else [one[0] for one in NAMED.finditer(value) if not one["time"]]
            for thing, name in zip(things, STAND_IN.findall(was), strict=False):
                if name not in self._named.values():
                    self._named.setdefault(thing, name)

    def _name_of(self, kind, text):
        while text not in self._named:
            self._counted[kind] += 1
            name = f"<{kind}:{self._counted[kind]}>"
            if name not in self._known:
                self._named[text] = name
        return self._named[text]

    def _of_match(self, match):
        if match["time"]:
            return "<time>"
        kind = match["id"] or match.lastgroup
        return self._name_of(kind, match[0])

    def put(self, value, field=""):
        """A value with names in place of what differs."""
        if isinstance(value, dict):
            return {NAMED.sub(self._of_match, name): self.put(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.put(inner) for inner in value]
        if field in BY_FIELD and value is not None:
            return self._name_of(field, value) if isinstance(value, str) else f"<{field}>"
        return NAMED.sub(self._of_match, value) if isinstance(value, str) else value

    def take(self, value):
        """A value with the things themselves in place of their names."""
        if isinstance(value, dict):
            return {name: self.take(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.take(inner) for inner in value]
        back = {name: text for text, name in self._named.items()}
        return STAND_IN.sub(lambda match: back[match[0]], value) if isinstance(value, str) else value


def replay(exchanges, callers, *, deeds, version):
    """Send each request as the caller that it names; the exchanges with the answers of now.

    ``{"do": "run"}`` in place of a request does what ``deeds`` have of that name, such as to let workers run what is
    due. What a deed finds, such as the token of a mail, is recorded beside it.
    """
    names, found = Names(exchanges), []
    for exchange in exchanges:
        if "do" in exchange:
            given = {name: value for name, value in exchange.items() if name != "found"}
            got = deeds[exchange["do"]](names.take(given))
            names.learn(got, exchange.get("found"))
            found.append(given | ({"found": got} if got else {}))
            continue
        asked = exchange["request"]
        answered = _shown(_send(names.take(asked), callers[asked.get("as", "key")], version))
        names.learn(answered, exchange.get("response"))
        found.append({"request": asked, "response": answered})
    return [one | {part: names.put(one[part]) for part in ("response", "found") if part in one} for one in found]


def _send(asked, caller, version):
    options = {"json": asked["json"]} if "json" in asked else {}
    if "text" in asked:
        options = {"data": asked["text"], "content_type": asked["content_type"]}
    headers = {"Agora-Version": version} | asked.get("headers", {})
    return getattr(caller, asked["method"].lower())(asked["path"], headers=headers, **options)


def _shown(answered):
    headers = {name: answered.headers[name] for name in HEADERS if name in answered.headers}
    if "Allow" in headers:  # a set
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    body = answered.json if answered.is_json and answered.data else answered.text
    if isinstance(body, dict) and "errors" in body:  # in no order
        body["errors"].sort(key=lambda one: (one["pointer"], one["rule"]))
    return {"status": answered.status_code, "headers": headers, "body": body}


FOR_PEOPLE = re.compile(r"/response/body/(detail|errors/\d+/message)$")


def lost(before, after, at=""):
    """What of a recorded answer is no longer so: each a line. What is only new, or only for people, is not told."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for name, value in before.items()
            for line in (lost(value, after[name], f"{at}/{name}") if name in after else [f"{at}/{name} is gone"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [line for number, one in enumerate(before) for line in lost(one, after[number], f"{at}/{number}")]
    if FOR_PEOPLE.search(at) and isinstance(after, str):
        return []
    same = before == after and type(before) is type(after)
    return [] if same else [f"{at}: {json.dumps(before)[:200]} became {json.dumps(after)[:200]}"]


def operations_in(exchanges, known):
    """Which of the ``known`` operations, such as ``GET /api/v1/jobs/{job_id}``, these requests succeeded at."""
    by_width = sorted(known, key=lambda one: one.count("{"))  # what has fewer names fits first
    patterns = [(one, re.compile(re.sub(r"\{\w+\}", "[^/?]+", one) + r"(\?.*)?")) for one in by_width]
    done = [one["request"] for one in exchanges if one["response"]["status"] < REFUSED]
    written = [f"{one['method']} {one['path']}" for one in done]
    return {next((name for name, pattern in patterns if pattern.fullmatch(text)), None) for text in written} - {None}


def text_of(exchanges):
    """A file's text: an exchange is what is read at once in a review."""
    return json.dumps(exchanges, indent=1, ensure_ascii=False) + "\n"
