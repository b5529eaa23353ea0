"""Checks of a deployed stack. Each works in a workspace of its own, so they run at the same time."""

import datetime
import io
import json
import pathlib
import time
import uuid
import zipfile

import yaml
from botocore.exceptions import ClientError

from stack import CERTIFICATE, COMMAND, WEBHOOK_KEY, Failed, eventually, expect

SYNCS = "/api/v1/syncs"


class Client:
    """A client of one workspace of a stack."""

    def __init__(self, stack, name, scope=""):
        self.stack, self.workspace = stack, name + "-" + uuid.uuid4().hex[:8]
        self.token = stack.token(self.workspace, scope)

    def want(self, status, method, path, body=None, token=None, **headers):
        """Sends a request that must have this status."""
        answer = self.stack.send(method, path, body, token or self.token, {k.replace("_", "-"): v for k, v in headers.items()})
        if answer.status != status:
            raise Failed(f"{method} {path}: got {answer.status} {json.dumps(answer.body)[:500]}, want {status}")
        return answer

    def create(self, **fields):
        """Creates a sync and returns its ID."""
        return self.want(200, "POST", SYNCS, sync(**fields)).body["id"]

    def trigger(self, sync_id):
        """Queues a run and returns its path and attributes."""
        run = self.want(201, "POST", f"{SYNCS}/{sync_id}/sync_runs").body["attributes"]
        return f"{SYNCS}/{sync_id}/sync_runs/{run['scheduled_time']}", run

    def claim(self, run, lease=300):
        """Claims a run and returns the answer."""
        return self.want(200, "POST", run + "/claim", {"executor": "worker", "lease_seconds": lease}).body

    def run(self, run):
        return self.want(200, "GET", run).body["attributes"]


def sync(**fields):
    return {"sync": {
        "source_id": 1, "destination_id": 2, "model_id": 3, "schedule_type": "automated", "configuration": {"b": 1.50, "a": []},
        "stream_name": "contacts", "sync_mode": "full_refresh", "sync_interval": 30, "sync_interval_unit": "minutes", **fields}}


def refused(answer, code):
    expect([e["code"] for e in answer.body["errors"]], [code], "the codes of the errors")


# The API


def check_syncs(stack):
    c = Client(stack, "syncs")
    created = c.want(200, "POST", SYNCS, sync())
    at = f"{SYNCS}/{created.body['id']}"
    expect(created.headers["Location"], at, "Location")
    other = c.create(stream_name="orders")

    read = c.want(200, "GET", at)
    expect(read.body, created.body, "the sync that was created")
    c.want(304, "GET", at, If_None_Match=read.headers["ETag"])
    page = c.want(200, "GET", SYNCS + "?page%5Bsize%5D=1").body
    expect([s["id"] for s in page["data"]], [other], "the first page")
    page = c.want(200, "GET", page["links"]["next"]).body
    expect([s["id"] for s in page["data"]], [created.body["id"]], "the second page")

    expect(c.want(200, "PATCH", at, {"sync": {"stream_name": "people"}}).body["attributes"]["stream_name"], "people", "PATCH")
    c.want(412, "PATCH", at, {"sync": {"stream_name": "users"}}, If_Match=read.headers["ETag"])
    expect(c.want(200, "PUT", at, sync(stream_name="users")).body["attributes"]["stream_name"], "users", "PUT")
    expect(c.want(200, "PATCH", at + "/enable", {"enable": False}).body["attributes"]["status"], "disabled", "the status when paused")
    expect(c.want(200, "PATCH", at + "/enable", {"enable": True}).body["attributes"]["status"], "pending", "the status when resumed")
    c.want(204, "DELETE", at)
    c.want(404, "DELETE", at)
    c.want(404, "GET", at)
    expect([s["id"] for s in c.want(200, "GET", SYNCS).body["data"]], [other], "the syncs that are left")


def check_large(stack):
    c = Client(stack, "large")
    configuration = {"name": "Zoë 🚀", "query": "x" * 100_000}
    sync_id = c.create(configuration=configuration)
    expect(c.want(200, "GET", f"{SYNCS}/{sync_id}").body["attributes"]["configuration"], configuration, "the configuration")
    event = stack.event("sync.created", sync_id)
    expect(event["data"].get("configuration_omitted"), True, "configuration_omitted")
    eventually("a schedule", lambda: stack.schedule(sync_id))
    c.want(413, "POST", SYNCS, sync(configuration={"query": "x" * 300_000}))


def check_documents(stack):
    document = stack.send("GET", "/api/v1/openapi.json")
    expect(document.status, 200, "GET openapi.json")
    schema = stack.send("GET", "/api/v1/schemas/sync.due.v1.json")
    expect(schema.status, 200, "GET a schema")


def check_replay(stack):
    c = Client(stack, "replay")
    first = c.want(200, "POST", SYNCS, sync(), Idempotency_Key="once")
    again = c.want(200, "POST", SYNCS, sync(), Idempotency_Key="once")
    expect((again.body, again.headers["Idempotent-Replayed"]), (first.body, "true"), "the replay")
    c.want(422, "POST", SYNCS, sync(stream_name="other"), Idempotency_Key="once")
    expect(len(c.want(200, "GET", SYNCS).body["data"]), 1, "the syncs")


def check_claim(stack):
    """The workspace of a caller is in the claim that WorkspaceClaim names."""
    c = Client(stack, "claim")
    workspace = {"workspace_id": c.workspace, "sub": "developer"}[stack.parameters.get("WorkspaceClaim", "workspace_id")]
    expect(stack.event("sync.created", c.create())["workspace"], workspace, "the workspace")


def check_limit(stack):
    answer = Client(stack, "limit").want(200, "POST", SYNCS, sync())
    limit, _ = stack.parameters["CreateLimit"].split("/")
    expect((answer.headers["RateLimit-Policy"] or "").split(";")[1:2], ["q=" + limit], "the limit")


def check_retention(stack):
    """Runs have the life that RunRetentionDays sets, whichever function stores them."""
    c = Client(stack, "retention")
    triggered, requested = c.create(), c.create()
    c.trigger(triggered)
    stack.publish("sync.run.requested", {"workspace_id": c.workspace, "sync_id": requested})

    def life(sync_id):
        values = {":pk": {"S": f"{c.workspace}#{sync_id}"}, ":prefix": {"S": "RUN#"}}
        items = stack.client("dynamodb").query(TableName=stack.outputs["TableName"], ConsistentRead=True, ExpressionAttributeValues=values,
                                               KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)")["Items"]
        return items and round((int(items[0]["expires_at"]["N"]) - time.time()) / 86400)

    for sync_id in triggered, requested:
        days = eventually("a run", lambda: life(sync_id))
        expect(days, int(stack.parameters["RunRetentionDays"]), "the days for which the run is kept")


def check_address(stack):
    """Links and events have the address of the domain, whether the stack or another one maps it to the API."""
    c = Client(stack, "address")
    address = stack.outputs["ApiUrl"]
    domain, _, key = address.removeprefix("https://").partition("/")
    path, gateway = "/" + key if key else "", stack.client("apigatewayv2")
    if "Domain" not in stack.resources:
        gateway.create_domain_name(DomainName=domain, DomainNameConfigurations=[{"EndpointType": "REGIONAL"}])
        gateway.create_api_mapping(DomainName=domain, ApiId=stack.resources["Api"], Stage="$default", ApiMappingKey=key)
    try:
        created = c.want(200, "POST", path + SYNCS, sync(), Host=domain)
        location = f"{path}{SYNCS}/{created.body['id']}"
        expect(created.headers["Location"], location, "Location")
        expect(c.want(200, "GET", location, Host=domain).body, created.body, "the sync")
    finally:
        if "Domain" not in stack.resources:
            gateway.delete_domain_name(DomainName=domain)
    expect(stack.event("sync.created", created.body["id"])["source"], address + SYNCS, "the source of the event")
    due = json.loads(eventually("a schedule", lambda: stack.schedule(created.body["id"]))["Target"]["Input"])
    expect(due["source"], address + SYNCS, "the source of sync.due")
    wrong = stack.publish("sync.create.requested", {"workspace_id": c.workspace})
    event = stack.event("sync.create.rejected", where=lambda e: e["data"]["request_id"] == wrong)
    expect(event["source"], address + SYNCS, "the source of a rejection")


def check_refusals(stack):
    c = Client(stack, "refusals")
    answer = stack.send("POST", SYNCS, sync())
    expect(answer.status, 401, "without a token")
    refused(answer, "token_missing")
    c.want(401, "GET", SYNCS, token=c.token[:-8] + "AAAAAAAA")
    reader = stack.token(c.workspace, "syncs:read")
    c.want(200, "GET", SYNCS, token=reader)
    for method, path in [("POST", SYNCS), ("POST", f"{SYNCS}/{uuid.uuid4()}/sync_runs"), ("DELETE", f"{SYNCS}/{uuid.uuid4()}")]:
        c.want(403, method, path, sync(), token=reader)
    c.want(404, "GET", f"{SYNCS}/{uuid.uuid4()}")
    c.want(404, "GET", f"{SYNCS}/a%25zz%00")
    c.want(404, "GET", "/api/v2/syncs")
    c.want(404, "GET", "/")
    answer = c.want(405, "DELETE", SYNCS)
    expect(answer.headers["Allow"] is not None, True, "Allow is present")
    c.want(422, "POST", SYNCS, sync(sync_mode="partial"))
    c.want(400, "POST", SYNCS, [])

    stranger = Client(stack, "stranger")
    stranger.want(404, "GET", f"{SYNCS}/{c.create()}")
    expect(stranger.want(200, "GET", SYNCS).body["data"], [], "the syncs of another workspace")


def check_keys(stack):
    c = Client(stack, "keys")

    def keys(action, *arguments):
        variables = {"STORE": "dynamodb", "TABLE_NAME": stack.outputs["TableName"]}
        return stack.emulator.run(COMMAND, "keys", action, *arguments, "--workspace", c.workspace, **variables)

    key = keys("create", "CI").split()[-1]
    c.want(200, "POST", SYNCS, sync(), token=key)
    c.want(403, "GET", "/api/v1/sync_runs", token=keys("create", "writer", "--scopes", "syncs:write").split()[-1])
    revoked = keys("create", "another").split()[-1]
    keys("revoke", revoked.split("_")[1])
    c.want(401, "GET", SYNCS, token=revoked)
    c.want(401, "GET", SYNCS, token=key[:-1] + ("a" if key[-1] != "a" else "b"))


def check_cors(stack):
    c = Client(stack, "cors")
    origin = "https://app.example.com"
    answer = stack.send("OPTIONS", SYNCS, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    expect((answer.status, answer.headers["Access-Control-Allow-Origin"]), (204, origin), "the preflight request")
    for method in "DELETE", "GET", "PATCH", "POST", "PUT":
        expect(method in answer.headers["Access-Control-Allow-Methods"].split(","), True, method + " is allowed")
    for name in "authorization", "idempotency-key", "if-match":
        expect(name in answer.headers["Access-Control-Allow-Headers"].split(","), True, name + " is allowed")
    exposed = c.want(200, "GET", SYNCS, Origin=origin).headers["Access-Control-Expose-Headers"]
    expect("etag" in exposed.split(","), True, "etag is exposed")
    answer = stack.send("OPTIONS", SYNCS, headers={"Origin": "https://other.example.com", "Access-Control-Request-Method": "POST"})
    expect(answer.headers["Access-Control-Allow-Origin"], None, "the answer to another origin")


def check_logs(stack):
    """Each function writes a line for what it does into its log."""
    c, logs, began = Client(stack, "logs"), stack.client("logs"), int(time.time() * 1000)
    c.create()
    stack.publish("sync.create.requested", {"workspace_id": c.workspace, "idempotency_key": "crm-1", **sync()})
    stack.client("lambda").invoke(FunctionName=stack.resources["ReconcileFunction"], Payload="{}")
    for group, message in ("FunctionLogs", "request"), ("RelayLogs", "relay"), ("IntakeLogs", "intake"), ("ReconcileLogs", "reconcile"):
        def written(group=group, message=message):
            found = logs.filter_log_events(logGroupName=stack.resources[group], startTime=began)["events"]
            lines = [json.loads(e["message"]) for e in found if e["message"].startswith("{")]
            return message in [line.get("message") for line in lines]
        eventually(f"a line of {group}", written)


# Schedules and events


def check_schedules(stack):
    c = Client(stack, "schedules")
    daily = c.create(cron_expression="0 6 * * *")
    at = f"{SYNCS}/{daily}"

    def becomes(what, expression, state="ENABLED"):
        def matches():
            found = stack.schedule(daily)
            return found if found and (found["ScheduleExpression"], found["State"]) == (expression, state) else None
        return eventually(what, matches)

    found = becomes("a schedule", "cron(0 6 * * ? *)")
    target = found["Target"]
    expect(target["Arn"], stack.outputs["EventBusArn"], "the target")
    expect(target["EventBridgeParameters"]["DetailType"], "sync.due", "the type of the event")
    expect(json.loads(target["Input"])["data"]["sync_id"], daily, "the sync of the event")
    c.want(200, "PATCH", at, {"sync": {"cron_expression": "30 7 * * 1"}})
    becomes("the new expression", "cron(30 7 ? * 2 *)")
    c.want(200, "PATCH", at + "/enable", {"enable": False})
    becomes("the disabled schedule", "cron(30 7 ? * 2 *)", "DISABLED")
    c.want(200, "PATCH", at + "/enable", {"enable": True})
    becomes("the enabled schedule", "cron(30 7 ? * 2 *)")
    c.want(204, "DELETE", at)
    eventually("no schedule", lambda: stack.schedule(daily) is None)

    interval = c.want(200, "POST", SYNCS, sync(sync_interval=90)).body
    found = eventually("a rate", lambda: stack.schedule(interval["id"]))
    expect(found["ScheduleExpression"], "rate(90 minutes)", "the expression of an interval")
    expect(found["StartDate"], datetime.datetime.fromisoformat(interval["attributes"]["next_run_at"]), "the first run")


def check_events(stack):
    c = Client(stack, "events")
    created = c.want(200, "POST", SYNCS, sync()).body
    at = f"{SYNCS}/{created['id']}"
    event = stack.event("sync.created", created["id"])
    expect(event["source"], stack.outputs["ApiUrl"] + SYNCS, "the source")
    expect((event["workspace"], event["data"]["id"]), (c.workspace, created["id"]), "the workspace and the sync")
    schema = stack.send("GET", event["dataschema"].removeprefix(stack.outputs["ApiUrl"]))
    expect(schema.status, 200, "the schema of the event")
    c.want(200, "PATCH", at, {"sync": {"stream_name": "people"}})
    expect(stack.event("sync.updated", created["id"])["data"]["changed"], ["stream_name"], "the change")
    c.want(204, "DELETE", at)
    stack.event("sync.deleted", created["id"])
    kinds = [e["type"] for e in stack.webhook.received(stack.path, subject=created["id"])]
    expect(sorted(set(kinds), key=kinds.index), ["sync.created.v1", "sync.updated.v1", "sync.deleted.v1"], "the order of the events")

    path, headers, _ = next(e for e in stack.webhook.events if e[2].get("subject") == created["id"])
    expect((headers["X-Api-Key"], headers["Content-Type"]), (WEBHOOK_KEY, "application/cloudevents+json"), "the headers")


def check_create_by_event(stack):
    c = Client(stack, "requests")
    request = {"workspace_id": c.workspace, "idempotency_key": "crm-1", **sync(stream_name="by event")}
    for _ in range(2):
        stack.publish("sync.create.requested", request)
    listed = eventually("the sync", lambda: c.want(200, "GET", SYNCS).body["data"])
    expect([s["attributes"]["stream_name"] for s in listed], ["by event"], "the syncs")
    stack.event("sync.created", listed[0]["id"])

    wrong = stack.publish("sync.create.requested", {**request, **sync(sync_mode="partial"), "idempotency_key": "crm-2"})
    event = stack.event("sync.create.rejected", where=lambda e: e["data"]["request_id"] == wrong)
    expect([e["code"] for e in event["data"]["errors"]], ["not_in_enum"], "the codes of the rejection")
    stack.publish("sync.create.requested", {**request, "idempotency_key": "crm-3"})
    eventually("the second sync", lambda: len(c.want(200, "GET", SYNCS).body["data"]) == 2)


def check_senders(stack):
    """The accounts of EventSenders may request, and nothing else. Another account may not."""
    c = Client(stack, "senders")

    def publish(account, kind, detail):
        try:
            stack.publish(kind, detail, account)
        except ClientError as err:
            return err.response["Error"]["Code"]

    request = {"workspace_id": c.workspace, **sync(), "idempotency_key": "crm-1"}
    refusal = "AccessDeniedException"
    expect(publish("333333333333", "sync.create.requested", request), refusal, "a request of another account")
    expect(publish("222222222222", "sync.due", request), refusal, "sync.due of a sender")
    for kind in "sync.create.requested", "sync.run.requested", "sync.run.reported":
        expect(publish("222222222222", kind, request), None, f"{kind} of a sender")
    eventually("the sync", lambda: len(c.want(200, "GET", SYNCS).body["data"]) == 1)


def check_operator(stack):
    """The operator's role may put any event on the bus. A run that is older than the newest one is skipped."""
    c = Client(stack, "operator")
    sync_id = c.create()
    due = eventually("a schedule", lambda: stack.schedule(sync_id))["Target"]["Input"]
    c.trigger(sync_id)
    entry = {"EventBusName": stack.outputs["EventBusName"], "Source": "syncplane", "DetailType": "sync.due",
             "Detail": due.replace("<aws.scheduler.scheduled-time>", "2026-11-23T06:00:00Z")}
    stack.emulator.client("events", session=stack.as_operator()).put_events(Entries=[entry])
    skipped = stack.event("sync.run.skipped", sync_id)["data"]
    expect((skipped["id"], skipped["attributes"]["error_code"]), (sync_id + "/2026-11-23T06:00:00Z", "superseded"), "the skipped run")


def check_bus_guard(stack):
    c = Client(stack, "guard")
    sync_id = c.create()
    forged = {"specversion": "1.0", "id": f"{sync_id}/2026-11-24T06:00:00Z", "type": "sync.due.v1", "subject": sync_id,
              "data": {"sync_id": sync_id, "workspace_id": c.workspace, "scheduled_time": "2026-11-24T06:00:00Z",
                       "run_id": f"{sync_id}/2026-11-24T06:00:00Z"}}
    for kind in "sync.due", "sync.deleted", "sync.run.queued":
        try:
            stack.publish(kind, forged)
            raise Failed(f"a forged {kind} was accepted")
        except ClientError as err:
            expect(err.response["Error"]["Code"], "AccessDeniedException", "the error")


def check_due(stack):
    """A schedule starts a run, which an executor executes. It waits for up to two minutes."""
    c = Client(stack, "due")
    created = c.want(200, "POST", SYNCS, sync(sync_interval=1)).body
    minutely = created["id"]
    event = stack.event("sync.due", minutely, timeout=90)
    due = event["data"]
    expect(due["run_id"], f"{minutely}/{due['scheduled_time']}", "the run")
    expect(due["scheduled_time"].removesuffix("Z"), created["attributes"]["next_run_at"].removesuffix(".000Z"), "the time of the run")
    queued = stack.event("sync.run.queued", minutely)["data"]
    expect(queued["id"], due["run_id"], "the queued run")
    run = f"{SYNCS}/{minutely}/sync_runs/{due['scheduled_time']}"
    claimed = c.claim(run)
    expect((claimed["attributes"]["status"], claimed["attributes"]["trigger"]), ("in_progress", "schedule"), "the claimed run")
    c.want(200, "POST", run + "/finish", {"fence": claimed["attributes"]["fence"], "status": "success"})
    expect(c.want(200, "GET", f"{SYNCS}/{minutely}").body["attributes"]["status"], "healthy", "the status of the sync")
    c.want(200, "PATCH", f"{SYNCS}/{minutely}/enable", {"enable": False})


# What was not delivered


def messages(stack, queue):
    """Returns the bodies of the messages in a queue."""
    found = stack.client("sqs").receive_message(QueueUrl=stack.resources[queue], MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [json.loads(m["Body"]) for m in found.get("Messages", [])]


def replay(stack, queue, arrived):
    """Replays a queue that has a message, which a dry run leaves there."""
    stack.operate("replay", "--queue", queue, "--dry-run")
    expect(arrived(), True, "the message is there after a dry run")
    stack.operate("replay", "--queue", queue)
    expect(arrived(), False, "the message is still there")


def check_undelivered(stack):
    """An event that the bus does not take reaches the dead-letter queue of its schedule. It waits for up to a minute."""
    c = Client(stack, "undelivered")
    sync_id = c.create()
    schedules = stack.client("scheduler")
    found = eventually("a schedule", lambda: stack.schedule(sync_id))
    found["Target"]["Arn"] = found["Target"]["Arn"].replace(stack.outputs["EventBusName"], "another-bus")
    same = {k: found[k] for k in ("GroupName", "FlexibleTimeWindow", "Target")}
    schedules.create_schedule(**same, Name="undelivered", ScheduleExpression="rate(1 minute)")

    def arrived():
        return sync_id in [m["data"]["sync_id"] for m in messages(stack, "ScheduleFailures")]
    try:
        eventually("the message", arrived, 80)
    finally:
        schedules.delete_schedule(Name="undelivered", GroupName=same["GroupName"])
    replay(stack, "schedules", arrived)
    stack.event("sync.due", sync_id)


def check_refused(stack):
    """An event that the webhook refuses reaches the dead-letter queue of the rule."""
    c = Client(stack, "refused")
    stack.webhook.refuses.add(c.workspace)
    sync_id = c.create()

    def arrived():
        return sync_id in [m["detail"]["subject"] for m in messages(stack, "WebhookFailures")]
    eventually("the message", arrived)
    expect(stack.webhook.received(stack.path, subject=sync_id), [], "the events at the webhook")
    stack.webhook.refuses.remove(c.workspace)
    replay(stack, "webhook", arrived)
    expect(stack.event("sync.created", sync_id)["id"], sync_id + "/1", "the ID of the event")


def check_unqueued(stack):
    """A request that the queue of the intake does not take reaches its dead-letter queue."""
    c, queues = Client(stack, "unqueued"), stack.client("sqs")
    queue = stack.resources["IntakeQueue"]
    policy = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]["Policy"]
    statements = [s for s in json.loads(policy)["Statement"] if s["Effect"] == "Deny"]
    queues.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": statements})})
    try:
        stack.publish("sync.create.requested", {"workspace_id": c.workspace, "idempotency_key": "crm-1", **sync()})
        eventually("the message", lambda: c.workspace in [m["detail"].get("workspace_id") for m in messages(stack, "IntakeFailures")])
    finally:
        queues.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    expect(c.want(200, "GET", SYNCS).body["data"], [], "the syncs")
    redrive(stack)
    eventually("the sync", lambda: len(c.want(200, "GET", SYNCS).body["data"]) == 1)


def redrive(stack):
    """Moves the messages of IntakeFailures back."""
    queues = stack.client("sqs")
    source, destination = (queue_arn(stack, name) for name in ("IntakeFailures", "IntakeQueue"))
    queues.start_message_move_task(SourceArn=source, DestinationArn=destination)


def queue_arn(stack, name):
    attributes = stack.client("sqs").get_queue_attributes(QueueUrl=stack.resources[name], AttributeNames=["QueueArn"])["Attributes"]
    return attributes["QueueArn"]


def check_given_up(stack):
    """What a function fails to do five times reaches the dead-letter queue. A message is visible again after one second here."""
    c, queues, roles = Client(stack, "given-up"), stack.client("sqs"), stack.client("iam")
    role = stack.resources["IntakeFunctionRole"]
    policy = roles.get_role_policy(RoleName=role, PolicyName="intake-function")["PolicyDocument"]
    idle = {**policy, "Statement": [s for s in policy["Statement"] if "dynamodb:PutItem" not in s["Action"]]}
    waits = {}
    for name in "IntakeQueue", "WatchQueue":
        url = stack.resources[name]
        waits[url] = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
        queues.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    roles.put_role_policy(RoleName=role, PolicyName="intake-function", PolicyDocument=json.dumps(idle))
    try:
        stack.publish("sync.create.requested", {"workspace_id": c.workspace, "idempotency_key": "crm-1", **sync()})
        queues.send_message(QueueUrl=stack.resources["WatchQueue"], MessageBody=json.dumps(c.workspace))  # which names no run
        eventually("the request", lambda: c.workspace in [m["detail"].get("workspace_id") for m in messages(stack, "IntakeFailures")], 30)
        eventually("the message of the watch queue", lambda: c.workspace in messages(stack, "WatchFailures"), 30)
    finally:
        roles.put_role_policy(RoleName=role, PolicyName="intake-function", PolicyDocument=json.dumps(policy))
        for url, attributes in waits.items():
            queues.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    queues.purge_queue(QueueUrl=stack.resources["WatchFailures"])
    redrive(stack)
    eventually("the sync", lambda: len(c.want(200, "GET", SYNCS).body["data"]) == 1)


def check_set_aside(stack):
    """The relay sets aside a change that it cannot read, and does not stop."""
    c = Client(stack, "aside")
    sync_id, table = c.create(), stack.client("dynamodb")
    stack.event("sync.created", sync_id)
    key = {"pk": {"S": c.workspace}, "sk": {"S": "SYNC#" + sync_id}}
    item = table.get_item(TableName=stack.outputs["TableName"], Key=key)["Item"]

    def arrived():
        return sync_id in [m.get("sync") for m in messages(stack, "RelayFailures")]
    table.put_item(TableName=stack.outputs["TableName"], Item={**item, "status": {"N": "1"}})
    try:
        eventually("the message", arrived)
    finally:
        repaired = {**item, "version": {"N": "2"}, "stream_name": {"S": "repaired"}}
        table.put_item(TableName=stack.outputs["TableName"], Item=repaired)
    stack.event("sync.created", c.create())  # after the repair
    expect(stack.webhook.received(stack.path, "sync.updated.v1", sync_id), [], "the events of the repair")
    replay(stack, "relay", arrived)
    event = stack.event("sync.updated", sync_id)
    expect((event["id"], event["data"]["attributes"]["stream_name"]), (sync_id + "/2", "repaired"), "the event")


def check_outage(stack):
    """Changes that are too old when the bus takes no events reach the queue of failures, and the others arrive late.

    They are too old after five seconds here, which AWS would not accept, in place of 12 hours.
    """
    roles, functions = stack.client("iam"), stack.client("lambda")
    name, mapping = stack.resources["RelayFunctionRole"], stack.resources["RelayFunctionChanges"]
    policy = roles.get_role_policy(RoleName=name, PolicyName="relay-function")["PolicyDocument"]
    age = functions.get_event_source_mapping(UUID=mapping)["MaximumRecordAgeInSeconds"]
    expect(age, 43200, "the greatest age in seconds")
    silent = {**policy, "Statement": [s for s in policy["Statement"] if s["Action"] != "events:PutEvents"]}
    c = Client(stack, "outage")

    def batches():
        return [m["DDBStreamBatchInfo"] for m in messages(stack, "RelayFailures") if "DDBStreamBatchInfo" in m]
    functions.update_event_source_mapping(UUID=mapping, MaximumRecordAgeInSeconds=5)
    roles.put_role_policy(RoleName=name, PolicyName="relay-function", PolicyDocument=json.dumps(silent))
    try:
        sync_id = c.create()
        eventually("the message", batches, 40)
        functions.update_event_source_mapping(UUID=mapping, MaximumRecordAgeInSeconds=age)
        late = c.create()
    finally:
        functions.update_event_source_mapping(UUID=mapping, MaximumRecordAgeInSeconds=age)
        roles.put_role_policy(RoleName=name, PolicyName="relay-function", PolicyDocument=json.dumps(policy))
    stack.event("sync.created", late)
    expect(stack.webhook.received(stack.path, subject=sync_id), [], "the events of the outage")
    replay(stack, "relay", lambda: batches() != [])
    expect(stack.event("sync.created", sync_id)["id"], sync_id + "/1", "the ID of the event")
    eventually("a schedule", lambda: stack.schedule(sync_id))


def check_expiry(stack):
    """Neither heartbeats nor the removal of expired items invoke the relay. It waits for up to a minute."""
    c = Client(stack, "expiry")
    table, name = stack.client("dynamodb"), stack.outputs["TableName"]
    sync_id = c.want(200, "POST", SYNCS, sync(), Idempotency_Key="once").body["id"]
    run, attributes = c.trigger(sync_id)
    fence = c.claim(run)["attributes"]["fence"]
    for _ in range(3):
        c.want(200, "POST", run + "/heartbeat", {"fence": fence})
    report = {"fence": fence, "status": "failed", "failed_records": [{"primary_key": "7", "action": "insert", "error": "denied"}]}
    c.want(200, "POST", run + "/finish", report)
    stack.event("sync.run.failed", sync_id)

    at = attributes["scheduled_time"]
    runs = f"{c.workspace}#{sync_id}"
    expiring = [(c.workspace, "ONCE#once"), (runs, "RUN#" + at), (runs, "ROWS#" + at)]
    for pk, sk in expiring:
        table.update_item(TableName=name, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConditionExpression="expires_at > :past",
                          UpdateExpression="SET expires_at = :past REMOVE transition", ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 1)}})

    def removals():
        """Returns the keys of the items of this check that DynamoDB has removed."""
        streams, arn = stack.client("dynamodbstreams"), stack.outputs["TableStreamArn"]
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        found = []
        while records := (page := streams.get_records(ShardIterator=iterator))["Records"]:
            found += [r for r in records if r.get("userIdentity") == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}]
            iterator = page["NextShardIterator"]
        keys = [{k: v["S"] for k, v in r["dynamodb"]["Keys"].items()} for r in found if r["eventName"] == "REMOVE"]
        return [(k["pk"], k["sk"]) for k in keys if k["pk"] in (c.workspace, runs)]
    eventually("the removals", lambda: len(removals()) == len(expiring), 75)
    expect(sorted(removals()), sorted(expiring), "what was removed")

    stack.event("sync.created", c.create())  # the relay has handled all before
    received = [e for e in stack.emulator.received(stack.resources["RelayFunction"]) if e["keys"]["pk"]["S"] in (c.workspace, runs)]
    kinds = [(e["change"], e["keys"]["sk"]["S"].split("#")[0]) for e in received]
    want = [("INSERT", "SYNC"), ("INSERT", "RUN"), ("MODIFY", "RUN"), ("MODIFY", "RUN"), ("MODIFY", "SYNC"), ("INSERT", "SYNC")]
    expect(sorted(kinds), sorted(want), "the changes that the relay received")


# Runs


def check_runs(stack):
    c = Client(stack, "runs")
    sync_id = c.create()
    runs = f"{SYNCS}/{sync_id}/sync_runs"
    first = c.want(201, "POST", runs, Idempotency_Key="now").body
    again = c.want(201, "POST", runs, Idempotency_Key="now")
    expect((again.body["id"], again.headers["Idempotent-Replayed"]), (first["id"], "true"), "the repeated trigger")
    run = runs + "/" + first["attributes"]["scheduled_time"]
    queued = stack.event("sync.run.queued", sync_id)["data"]
    expect((queued["id"], queued["sync"]["id"]), (first["id"], sync_id), "the queued run and its sync")
    expect([r["id"] for r in c.want(200, "GET", "/api/v1/sync_runs").body["data"]], [first["id"]], "the open runs")

    claimed = c.claim(run)
    expect(claimed["sync"]["id"], sync_id, "the sync of the claim")
    fence = claimed["attributes"]["fence"]
    stack.event("sync.run.started", sync_id)
    refused(c.want(409, "POST", run + "/claim", {"executor": "other"}), "run_claimed")
    refused(c.want(409, "POST", run + "/heartbeat", {"fence": fence + 1}), "fenced")
    beat = c.want(200, "POST", run + "/heartbeat", {"fence": fence, "counters": {"total_rows": 10}}).body
    expect(beat["attributes"]["total_rows"], 10, "the counter")
    report = {"fence": fence, "status": "failed", "counters": {"total_rows": 10, "failed_rows": 1}, "error": "no access",
              "failed_records": [{"primary_key": "7", "action": "insert", "error": "denied"}]}
    for _ in range(2):
        expect(c.want(200, "POST", run + "/finish", report).body["attributes"]["status"], "failed", "the status")
    refused(c.want(409, "POST", run + "/claim", {"executor": "other"}), "run_ended")
    stack.event("sync.run.failed", sync_id)
    expect([r["attributes"]["primary_key"] if "attributes" in r else r["primary_key"]
            for r in c.want(200, "GET", run + "/sync_records").body["data"]], ["7"], "the failed rows")
    expect(c.want(200, "GET", f"{SYNCS}/{sync_id}").body["attributes"]["status"], "failed", "the status of the sync")

    second, _ = c.trigger(sync_id)
    claimed = c.claim(second)
    waiting, attributes = c.trigger(sync_id)
    expect(attributes["status"], "pending", "a run behind an open one")
    c.want(200, "POST", second + "/finish", {"fence": claimed["attributes"]["fence"], "status": "success"})
    stack.event("sync.run.succeeded", sync_id)
    expect(c.run(waiting)["status"], "queued", "the run that waited")
    listed = [r["attributes"]["status"] for r in c.want(200, "GET", runs).body["data"]]
    expect(listed, ["queued", "success", "failed"], "the runs of the sync")
    read = c.want(200, "GET", run)
    c.want(304, "GET", run, If_None_Match=read.headers["ETag"])
    c.want(404, "GET", runs + "/2020-01-01T00:00:00Z")


def check_cancel(stack):
    c = Client(stack, "cancel")
    sync_id = c.create()
    run, _ = c.trigger(sync_id)
    expect(c.want(200, "POST", run + "/cancel").body["attributes"]["status"], "canceled", "a canceled run")
    stack.event("sync.run.canceled", sync_id)
    run, _ = c.trigger(sync_id)
    fence = c.claim(run)["attributes"]["fence"]
    c.want(202, "POST", run + "/cancel")
    stack.event("sync.run.cancel_requested", sync_id)
    beat = c.want(200, "POST", run + "/heartbeat", {"fence": fence}).body
    expect(beat["attributes"]["cancel_requested_at"] is not None, True, "the heartbeat shows the request")
    c.want(200, "POST", run + "/cancel", {"force": True})
    refused(c.want(409, "POST", run + "/finish", {"fence": fence, "status": "success"}), "fenced")
    expect(c.run(run)["late_report"]["status"], "success", "the late report")

    paused = c.create()
    run, _ = c.trigger(paused)
    c.want(200, "PATCH", f"{SYNCS}/{paused}/enable", {"enable": False})
    stack.event("sync.run.canceled", paused)
    refused(c.want(409, "POST", f"{SYNCS}/{paused}/sync_runs"), "sync_disabled")


def check_runs_by_event(stack):
    c = Client(stack, "by-event")
    sync_id = c.create()
    stack.publish("sync.run.requested", {"workspace_id": c.workspace, "sync_id": sync_id, "idempotency_key": "go"})
    queued = stack.event("sync.run.queued", sync_id)["data"]
    run = f"{SYNCS}/{sync_id}/sync_runs/{queued['attributes']['scheduled_time']}"
    fence = c.claim(run)["attributes"]["fence"]
    report = {"workspace_id": c.workspace, "run_id": queued["id"]}
    wrong = stack.publish("sync.run.reported", {**report, "sync_run": {"fence": fence + 1, "status": "success"}})
    event = stack.event("sync.run.rejected", where=lambda e: e["data"]["request_id"] == wrong)
    expect([e["code"] for e in event["data"]["errors"]], ["fenced"], "the codes of the rejection")
    stack.publish("sync.run.reported", {**report, "sync_run": {"fence": fence, "status": "success", "counters": {"successful_rows": 3}}})
    stack.event("sync.run.succeeded", sync_id)
    expect(c.run(run)["successful_rows"], 3, "the counter")


def role_of(c, **statement):
    """Creates a role for the services that execute runs, with what a statement permits, and returns its ARN."""
    iam = c.stack.client("iam")
    services = ["lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com"]
    trust = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=c.workspace, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))["Role"]
    if statement:
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
        iam.put_role_policy(RoleName=c.workspace, PolicyName="work", PolicyDocument=json.dumps(policy))
    return role["Arn"]


def function_of(c, role, handler, files, **variables):
    """Creates a function in Python, and returns its ARN."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    created = c.stack.client("lambda").create_function(
        FunctionName=c.workspace, Runtime="python3.12", Handler=handler, Role=role, Code={"ZipFile": archive.getvalue()},
        Timeout=900, Environment={"Variables": variables})
    return created["FunctionArn"]


def route_runs(c, **target):
    """Delivers the events of the queued runs of a workspace to a target, as docs/runs.md describes."""
    events, bus = c.stack.client("events"), c.stack.outputs["EventBusName"]
    pattern = {"detail-type": ["sync.run.queued"], "detail": {"workspace": [c.workspace]}}
    events.put_rule(Name=c.workspace, EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=c.workspace, EventBusName=bus, Targets=[{"Id": "target", **target}])


def example(name):
    return pathlib.Path("examples/worker", name).read_text()


def execute_runs(c):
    """Checks that a run succeeds and that a run of the stream "broken" fails. Returns the sync of the first."""
    works, breaks = c.create(), c.create(stream_name="broken")
    for sync_id, outcome in (works, "succeeded"), (breaks, "failed"):
        run, _ = c.trigger(sync_id)
        c.stack.event("sync.run." + outcome, sync_id, timeout=60)  # a function in Python starts slowly on a busy machine
        expect(c.run(run)["attempt"], 1, "the attempts")
    return works


def check_state_machine(stack):
    """The state machine of examples/worker executes the runs of a workspace."""
    c, machines = Client(stack, "machine"), stack.client("stepfunctions")
    connection = stack.client("events").create_connection(Name=c.workspace, AuthorizationType="API_KEY", AuthParameters={
        "ApiKeyAuthParameters": {"ApiKeyName": "Authorization", "ApiKeyValue": "Bearer " + c.token}})
    role = role_of(c)
    function = function_of(c, role, "rows.copy", {
        "rows.py": "def copy(claim, _):\n    assert claim['sync']['attributes']['stream_name'] != 'broken'\n"})
    text = example("state-machine.yaml")
    for name, value in ("ApiUrl", "https://" + stack.host), ("ConnectionArn", connection["ConnectionArn"]), ("CopyFunctionArn", function):
        text = text.replace("${" + name + "}", value)
    machine = machines.create_state_machine(name=c.workspace, roleArn=role, definition=json.dumps(yaml.safe_load(text)))["stateMachineArn"]
    route_runs(c, Arn=machine, InputPath="$.detail", RoleArn=role)
    sync_id = execute_runs(c)

    def statuses():
        found = [e["status"] for e in machines.list_executions(stateMachineArn=machine)["executions"]]
        return found if "RUNNING" not in found else None
    expect(eventually("the executions end", statuses, 60), ["SUCCEEDED"] * 2, "the executions")
    event = stack.webhook.received(stack.path, "sync.run.queued.v1", sync_id)[0]
    again = machines.start_execution(stateMachineArn=machine, input=json.dumps(event))["executionArn"]  # its run has ended
    expect(eventually("the executions end", statuses, 60), ["SUCCEEDED"] * 3, "the executions")
    entered = [e["stateEnteredEventDetails"]["name"] for e in machines.get_execution_history(executionArn=again)["events"]
               if "stateEnteredEventDetails" in e]
    expect(entered, ["Run", "Claim", "Drop"], "the states for a run that has ended")


def check_queue_function(stack):
    """The function of examples/worker behind a queue executes the runs of a workspace."""
    c, queues = Client(stack, "function"), stack.client("sqs")
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": "*"}
    url = queues.create_queue(QueueName=c.workspace, Attributes={
        "VisibilityTimeout": "960", "Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})})["QueueUrl"]
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rows = """import socket

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda _, *rest, **named: resolve("127.0.0.1", *rest, **named)  # the API is known to DNS on AWS

def copy(claim):
    return "failed" if claim["sync"]["attributes"]["stream_name"] == "broken" else "success"
"""
    role = role_of(c, Action=["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], Resource=queue)
    function = function_of(
        c, role, "sqs.handler", {"sqs.py": example("sqs.py"), "syncplane.py": example("syncplane.py"), "rows.py": rows},
        API=f"https://{stack.host}:{stack.emulator.port}", TOKEN=c.token, SSL_CERT_FILE=str(CERTIFICATE))
    stack.client("lambda").create_event_source_mapping(FunctionName=function, EventSourceArn=queue, BatchSize=1)
    route_runs(c, Arn=queue)
    sync_id = execute_runs(c)

    def waiting():
        counts = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesNotVisible"])
    event = stack.webhook.received(stack.path, "sync.run.queued.v1", sync_id)[0]
    queues.send_message(QueueUrl=url, MessageBody=json.dumps({"detail": event}))  # its run has ended
    eventually("the messages are deleted", lambda: waiting() == 0, 60)
    expect(len(stack.webhook.received(stack.path, "sync.run.started.v1", sync_id)), 1, "how often the run was started")


def requeued(event):
    """Reports whether an event sync.run.queued is that of a lost lease."""
    return event["data"]["attributes"].get("attempt") == 1


def check_watch(stack):
    """The watch queue ends a lease whose executor is silent. It waits for half a minute."""
    c = Client(stack, "watch")
    lost, canceled = c.create(), c.create()
    for sync_id in lost, canceled:
        run, _ = c.trigger(sync_id)
        c.claim(run, lease=30)
        stack.event("sync.run.started", sync_id)
    c.want(202, "POST", run + "/cancel")
    again = stack.event("sync.run.queued", lost, where=requeued, timeout=50)
    expect(again["data"]["attributes"]["status"], "queued", "the status after the lease")
    stack.event("sync.run.canceled", canceled, timeout=20)


# Reconciliation


def damage(stack, c):
    """Deletes, changes and adds a schedule. Returns a function that reports whether they are repaired, and the IDs."""
    schedules, group = stack.client("scheduler"), stack.outputs["ScheduleGroupName"]
    deleted, changed, stray = c.create(), c.create(), str(uuid.uuid4())
    found = [eventually("a schedule", lambda: stack.schedule(sync_id)) for sync_id in (deleted, changed)]
    schedules.delete_schedule(Name="sync-" + deleted, GroupName=group)
    same = {k: found[1][k] for k in ("Name", "GroupName", "FlexibleTimeWindow", "Target")}
    schedules.update_schedule(**same, ScheduleExpression="rate(7 days)")
    schedules.create_schedule(**{**same, "Name": "sync-" + stray}, ScheduleExpression="rate(7 days)")

    def repaired():
        now = [stack.schedule(sync_id) for sync_id in (deleted, changed)]
        return all(s and s["ScheduleExpression"] == "rate(30 minutes)" for s in now) and stack.schedule(stray) is None

    expect(repaired(), False, "the schedules are as they should be")
    return repaired, {deleted, changed, stray}


def check_reconcile(stack):
    repaired, _ = damage(stack, Client(stack, "reconcile"))
    answer = stack.client("lambda").invoke(FunctionName=stack.resources["ReconcileFunction"], Payload="{}")
    if "FunctionError" in answer:
        raise Failed("the reconcile function: " + answer["Payload"].read().decode())
    expect(repaired(), True, "the schedules are repaired")


def check_rate(stack):
    """The reconcile function calls Scheduler at ReconcileRate, of which a ListSchedules counts as 20."""
    damage(stack, Client(stack, "rate"))
    began = time.monotonic()
    answer = stack.emulator.client("lambda", patient=True).invoke(FunctionName=stack.resources["ReconcileFunction"], Payload="{}")
    syncs = json.load(answer["Payload"])["syncs"]
    spent, least = time.monotonic() - began, (20 + syncs / 2) / int(stack.parameters["ReconcileRate"])
    expect(spent >= least, True, f"the reconciliation of {syncs} syncs takes {least:.1f} s or more, with {spent:.1f} s")


def check_reconcile_command(stack):
    """The command reconciles as the function does, with the permissions of an operator."""
    repaired, damaged = damage(stack, Client(stack, "command"))
    expect(damaged - set(stack.operate("reconcile", "--dry-run").split()), set(), "the differences that were not found")
    expect(repaired(), False, "the schedules are repaired")
    expect(damaged - set(stack.operate("reconcile").split()), set(), "the differences that were not repaired")
    expect(repaired(), True, "the schedules are repaired")


def check_lost_runs_command(stack):
    """The command ends leases that are over, as the reconcile function does."""
    c = Client(stack, "over")
    canceled, table = c.create(), stack.client("dynamodb")
    run, attributes = c.trigger(canceled)
    c.claim(run)
    c.want(202, "POST", run + "/cancel")
    stack.event("sync.run.cancel_requested", canceled)
    key = {"pk": {"S": f"{c.workspace}#{canceled}"}, "sk": {"S": "RUN#" + attributes["scheduled_time"]}}
    table.update_item(TableName=stack.outputs["TableName"], Key=key, ConditionExpression="deadline_at > :past",
                      UpdateExpression="SET deadline_at = :past REMOVE transition", ExpressionAttributeValues={":past": {"N": str(int(time.time() - 1) * 1000)}})
    stack.operate("reconcile")
    stack.event("sync.run.canceled", canceled)


def check_replay_command(stack):
    """The command publishes the changes of a range of time again, with the same IDs."""
    began = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    c = Client(stack, "again")
    sync_id = c.create()
    c.trigger(sync_id)  # its deadline is watched
    stack.event("sync.run.queued", sync_id)
    first = stack.event("sync.created", sync_id)
    expect(first["id"] in stack.operate("replay", "--from", began), True, "the event is printed")

    def again():
        return len(stack.webhook.received(stack.path, "sync.created.v1", sync_id)) > 1
    eventually("the event again", again)
    expect({e["id"] for e in stack.webhook.received(stack.path, "sync.created.v1", sync_id)}, {first["id"]}, "the ID of the event")


def check_daily(stack):
    """The daily schedule invokes the reconcile function. It is changed to run each minute."""
    schedules = stack.client("scheduler")
    daily = schedules.get_schedule(Name=stack.resources["ReconcileFunctionDaily"])
    same = {k: daily[k] for k in ("Name", "FlexibleTimeWindow", "Target")}
    schedules.update_schedule(**same, ScheduleExpression="rate(1 minute)")
    repaired, _ = damage(stack, Client(stack, "daily"))
    try:
        eventually("the schedules are repaired", repaired, 90)
    finally:
        schedules.update_schedule(**same, ScheduleExpression=daily["ScheduleExpression"])


def check_lost_watch(stack):
    """The reconcile function ends leases whose messages are lost. It waits for half a minute."""
    c = Client(stack, "lost")
    lost, canceled = c.create(), c.create()
    for sync_id in lost, canceled:
        run, _ = c.trigger(sync_id)
        c.claim(run, lease=30)
        stack.event("sync.run.started", sync_id)
    c.want(202, "POST", run + "/cancel")
    stack.event("sync.run.cancel_requested", canceled)
    time.sleep(1)  # the messages follow the events
    stack.client("sqs").purge_queue(QueueUrl=stack.resources["WatchQueue"])
    deadline = datetime.datetime.fromisoformat(c.run(run)["deadline_at"]).timestamp()
    time.sleep(max(0, deadline + 2 - time.time()))
    expect(any(map(requeued, stack.webhook.received(stack.path, "sync.run.queued.v1", lost))), False, "the run is queued again")
    stack.client("lambda").invoke(FunctionName=stack.resources["ReconcileFunction"], Payload="{}")
    stack.event("sync.run.queued", lost, where=requeued)
    stack.event("sync.run.canceled", canceled)


def checks(*without):
    return [value for name, value in globals().items() if name.startswith("check_") and value not in without]


# These reconcile, interrupt deliveries or remove messages, and would disturb the rest.
# check_address and check_rate need a stack with parameters of its own.
APART = [check_address, check_unqueued, check_given_up, check_set_aside, check_outage, check_logs, check_rate, check_reconcile,
         check_reconcile_command, check_replay_command, check_lost_watch, check_lost_runs_command]
TOGETHER = checks(*APART)
