"""Generators and hooks for what an OpenAPI document cannot express."""

import uuid
from urllib.parse import parse_qs, urlsplit

import schemathesis
from hypothesis import strategies as st

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@st.composite
def field(draw, low, high, longest, names=()):
    """A field of a cron expression: a list of *, values and ranges, some of them with a step."""

    def spell(value):
        if value - low < len(names) and draw(st.booleans()):
            return draw(st.sampled_from((str.lower, str.upper, str.title)))(names[value - low])
        return str(value)

    items = []
    for kind in draw(st.lists(st.sampled_from(("all", "value", "range")), min_size=1, max_size=3)):
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        item = {"all": "*", "value": spell(first), "range": f"{spell(first)}-{spell(last)}"}[kind]
        if kind != "value" and draw(st.booleans()):
            item += f"/{draw(st.integers(1, longest))}"
        items.append(item)
    return ",".join(items)


# Days end at the 28th, because an expression is invalid if its months lack its days.
# "" means no expression.
CRON = st.just("") | st.builds(
    "{} {} {} {} {}".format,
    field(0, 59, longest=60),
    field(0, 23, longest=24),
    field(1, 28, longest=31),
    field(1, 12, longest=12, names=MONTHS),
    field(0, 7, longest=7, names=WEEKDAYS),
)

schemathesis.openapi.format("cron", CRON)

# CRON generates only shorter expressions, in characters.
LONGEST = 200

AFTER = "page[after]"

# The latest values that only the server can generate.
cursors = {}  # by caller
tags = {}  # by the ID of a sync


@schemathesis.hook
def after_call(context, case, response):
    """Store cursors and entity tags."""
    if not 200 <= response.status_code < 300 or not response.content:
        return
    body = response.json()
    if case.path == "/api/v1/syncs" and case.method == "GET":
        after = parse_qs(urlsplit(body["links"]["next"] or "").query).get(AFTER)
        if after:
            cursors[case.auth_identity] = after[0]
    elif "etag" in response.headers:
        resource = body.get("data", body)
        tags[resource["id"]] = response.headers["etag"][0]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Make positive cases valid where a schema cannot express how."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # A key with another body is rejected, so each request needs its own.
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    replace(case.headers, "If-Match", tags.get(case.path_parameters.get("id")))
    # A write that excludes the present version is rejected, too.
    if case.method != "GET":
        replace(case.headers, "If-None-Match", None)
    replace(case.query, AFTER, cursors.get(case.auth_identity))
    # The longest expressions are generated from the pattern, which ignores days.
    sync = case.body.get("sync") if isinstance(case.body, dict) else None
    cron = sync.get("cron_expression") if isinstance(sync, dict) else None
    if isinstance(cron, str) and len(cron) > LONGEST:
        sync["cron_expression"] = "0 6 * * 1-5".ljust(len(cron))


def replace(values, name, value):
    """Replace the value of name if it is present; None removes it."""
    if name in values:
        del values[name]
        if value is not None:
            values[name] = value
