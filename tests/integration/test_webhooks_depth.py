"""How deep the JSON of an endpoint may nest: as deep as any other."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("db", "quiet")
BASE = "/api/v1/webhook-endpoints"
URL = "https://127.0.0.1/hook"


def nested(levels):
    """So many levels, of which the outermost is the field itself."""
    return json.loads('{"a":' * levels + "1" + "}" * levels)


@pytest.fixture(params=["metadata", "metadata_filter"])
def field(request):
    return request.param


@pytest.mark.parametrize("levels", [40, 200, 400])
def test_an_endpoint_whose_json_nests_too_deep_is_refused(caller, field, levels):
    made = caller.post(BASE, json={"url": URL, "uid": "one"})
    deep = nested(levels)
    answers = {
        "": caller.post(BASE, json={"url": URL, field: deep}),
        "patched": caller.patch(f"{BASE}/one", json={field: deep}),
        "/endpoints/1": caller.post(
            "/api/v1/webhook-endpoint-import", json={"endpoints": [{"url": URL}, {"url": URL, field: deep}]}
        ),
    }
    for at, answer in answers.items():
        assert answer.status_code == 422, (at, answer.text[:300])
        [error] = answer.json["errors"]
        pointer = f"{at}/{field}" if at != "patched" else f"/{field}"
        assert (error["rule"], error["pointer"].startswith(f"{pointer}/a/a")) == ("max-depth", True)
    assert [one["id"] for one in caller.get(BASE).json["items"]] == [made.json["id"]]


def test_the_limit_itself_is_taken(caller, field, setting):
    setting("AGORA_MAX_JSON_DEPTH", 3)
    assert caller.post(BASE, json={"url": URL, field: nested(2)}).json[field] == nested(2)
    assert caller.post(BASE, json={"url": URL, field: nested(4)}).status_code == 422
