"""A visitor of the webhook portal who has a browser without JavaScript: follows links, fills in and sends forms."""

from html.parser import HTMLParser
from urllib.parse import urlsplit

ROOT = "/webhook-portal"
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """A page: its text, its links, its forms with what a browser would send."""

    def __init__(self, response):
        super().__init__()
        self.status, self.html, self.headers = response.status_code, response.text, response.headers
        self.tags, self.links, self.forms, self.metas = [], [], [], []
        self._open, self._select, self._words = [], None, []
        self.feed(self.html)
        self.text = " ".join("".join(self._words).split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "meta":
            self.metas.append(given)
        if tag == "form":
            self.forms.append({"action": given.get("action", ""), "method": given.get("method", "get"), "fields": []})
        if tag == "input" and (given.get("type") not in {"checkbox", "radio"} or "checked" in given):
            self.forms[-1]["fields"].append((given["name"], given.get("value", "")))
        if tag == "select":
            self._select = given["name"]
            self.forms[-1]["fields"].append((self._select, None))
        if tag == "option":
            fields = self.forms[-1]["fields"]
            if "selected" in given or fields[-1] == (self._select, None):
                fields[-1] = (self._select, given.get("value", ""))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag in {"th", "td", "dt", "dd", "option"}:
            self._words.append(" ")
        assert self._open, f"</{tag}> without a beginning"
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self._words.append(data)

    def form(self, ending):
        """The form whose action ends so."""
        return next(one for one in self.forms if one["action"].endswith(ending))


class Visitor:
    """Somebody with a link."""

    def __init__(self, app, token):
        self.client = app.test_client()
        self.token = token

    def open(self):
        """Follow the link; returns the first page."""
        first = self.get(f"{ROOT}/l/{self.token}")
        assert first.status == 200, first.text
        onward = next(one["content"] for one in first.metas if one.get("http-equiv") == "refresh")
        assert onward == f"0; url={ROOT}/"
        return self.get(f"{ROOT}/")

    def get(self, path, **options):
        """Look at a page."""
        return Page(self.client.get(path, **options))

    def send(self, page, ending, **changes):
        """Send a form of a page as a browser does, and follow where it leads. A list is several values."""
        form = page.form(ending)
        values = {}
        for name, value in form["fields"]:
            values.setdefault(name, []).append(value)
        values |= {name: value if isinstance(value, list) else [value] for name, value in changes.items()}
        assert form["method"] == "post"
        answer = self.client.post(form["action"], data=values)
        if answer.status_code != 303:
            return Page(answer)
        self.at = urlsplit(answer.headers["Location"]).path
        return self.get(answer.headers["Location"])

    def post(self, path, data=None, **options):
        """Send something that no form of a page has made."""
        return Page(self.client.post(path, data=data or {}, **options))
