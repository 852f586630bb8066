"""What schemathesis is to look at besides its own checks. It reads this file as SCHEMATHESIS_HOOKS."""

import json

import schemathesis
from hypothesis import strategies


def json_text(values):
    return values.map(json.dumps)


def names(longest=None):
    return strategies.dictionaries(strategies.text(max_size=longest), strategies.none())


texts = strategies.lists(strategies.text(min_size=1, max_size=100), min_size=1, max_size=5)
schemathesis.openapi.format("json-object", json_text(names()))
schemathesis.openapi.format("json-options", json_text(names(longest=100)))
schemathesis.openapi.format("json-texts", json_text(texts))

VALIDATORS_WORDS = ("The body is not valid", "The querystring is not valid", "The params is not valid")


@schemathesis.check
def validator_agrees_with_document(ctx, response, case):
    """What the document allows is never refused by the schema that the document was made of."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 400:
        return
    error = json.loads(response.content)["error"]
    if error.startswith("The body") and case.media_type != "application/json":
        return  # bytes, of which the document says nothing
    if error.startswith(VALIDATORS_WORDS):
        raise AssertionError(f"the document allows it, but: {error}")


@schemathesis.check
def failures_have_our_codes(ctx, response, case):
    """Every failure is JSON with a text, a code of docs/errors.md and the request's id."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    failure = json.loads(response.content)
    if "live" in failure or "ready" in failure:  # of the health checks, which answer with 503 where they mean no
        return
    assert set(failure) == {"error", "code", "request_id"}, failure
    assert failure["code"].startswith("ERR_") and failure["error"].strip(), failure
    assert failure["code"] != "ERR_INTERNAL", failure
