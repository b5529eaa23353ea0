"""Generators and hooks for what an OpenAPI document cannot express."""

import json
import os
import re
import urllib.request
import uuid
from pathlib import Path

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

INVISIBLE = re.compile("[\U00013430-\U0001343F\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]")

AFTER = "page[after]"

# The latest values that only the server can generate.
cursors = {}  # by caller and path
tags = {}  # by the ID of a sync
callers = {caller["name"]: caller["fixedHeaders"][0]["value"] for caller in json.loads(Path(os.environ["WORK"], "callers.json").read_text())["auth"]}


@schemathesis.hook
def after_call(context, case, response):
    """Store cursors and entity tags."""
    if not 200 <= response.status_code < 300 or not response.content:
        return
    body = response.json()
    resource = body.get("data", body)
    if isinstance(resource, list):
        after = body.get("meta", {}).get("page", {}).get("after")
        if after:
            cursors[case.auth_identity, case.formatted_path] = after
    elif resource.get("type") == "syncs" and "etag" in response.headers:
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
    # The callers work in their own workspace.
    replace(case.headers, "Syncplane-Workspace", None)
    if "{time}" in case.path:
        begin_run(case)
    replace(case.query, AFTER, cursors.get((case.auth_identity, case.formatted_path)))
    sync = case.body.get("sync") if isinstance(case.body, dict) else None
    # A name of only characters that show nothing is rejected; the patterns do not name
    # those beyond U+FFFF.
    for name in ("stream_name", "cursor_field"):
        if isinstance(sync, dict) and INVISIBLE.search(str(sync.get(name))):
            sync[name] = "contacts"
    # A change must name a field that can be changed.
    if case.method in ("PATCH", "PUT") and isinstance(sync, dict) and not FIELDS & sync.keys():
        sync["stream_name"] = "contacts"
    # The longest expressions are generated from the pattern, which ignores days.
    cron = sync.get("cron_expression") if isinstance(sync, dict) else None
    if isinstance(cron, str) and len(cron) > LONGEST:
        sync["cron_expression"] = "0 6 * * 1-5".ljust(len(cron))


FIELDS = {
    "source_id", "destination_id", "model_id", "schedule_type", "configuration", "stream_name",
    "sync_mode", "sync_interval", "sync_interval_unit", "cron_expression",
}  # fmt: skip

SYNC = {
    "source_id": 1, "destination_id": 2, "model_id": 3, "schedule_type": "automated", "configuration": {}, "stream_name": "contacts",
    "sync_mode": "full_refresh", "sync_interval": 30, "sync_interval_unit": "minutes",
}  # fmt: skip


def begin_run(case):
    """Give the case a run that exists, claimed if the request is about a lease."""

    def post(path, body):
        request = urllib.request.Request(
            case.operation.base_url + path, json.dumps(body).encode(),
            {"Authorization": callers[case.auth_identity], "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as response:
            return json.load(response), response.headers["ETag"]

    sync = post("/api/v1/syncs", {"sync": SYNC})[0]["id"]
    path = f"/api/v1/syncs/{sync}/sync_runs"
    run, tag = post(path, {})
    time = run["attributes"]["scheduled_time"]
    case.path_parameters["id"], case.path_parameters["time"] = sync, time
    replace(case.headers, "If-Match", tag)
    request = case.body.get("sync_run") if isinstance(case.body, dict) else None
    if not isinstance(request, dict) or "fence" not in request:
        return
    request["fence"] = post(f"{path}/{time}/claim", {"executor": "schemathesis"})[0]["attributes"]["fence"]
    # All rows failed is no success, which a schema cannot express.
    counters = request.get("counters")
    if isinstance(counters, dict) and counters.get("successful_rows") == 0:
        del counters["successful_rows"]


def replace(values, name, value):
    """Replace the value of name if it is present; None removes it."""
    if name in values:
        del values[name]
        if value is not None:
            values[name] = value
