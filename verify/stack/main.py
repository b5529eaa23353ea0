"""Deploys stacks into the emulator and checks them."""

import concurrent.futures
import os
import queue
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
import uuid

import checks
import documentation
import mutations
from stack import ACCOUNT, COMMAND, REGION, WORK, Emulator, Failed, Stack, Webhook, eventually, expect, free_port, make_certificate


def public_keys():
    """Returns the key set with which the tokens of the command are verified."""
    port = str(free_port())
    server = subprocess.Popen([COMMAND, "serve"], env={**os.environ, "DATA_DIR": str(WORK / "keys"), "PORT": port, "CREATE_LIMIT": ""},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/.well-known/jwks.json"

    def read():
        try:
            return urllib.request.urlopen(address).read()
        except OSError:
            return None
    try:
        return eventually("the key set", read)
    finally:
        server.terminate()
        server.wait()


def run(name, function, *arguments):
    """Runs a step and reports it. Returns whether it passed."""
    began = time.monotonic()
    try:
        function(*arguments)
    except Exception as err:
        print(f"FAIL  {name} ({time.monotonic() - began:.1f} s): {err}", flush=True)
        if not isinstance(err, Failed):
            traceback.print_exc()
        return False
    print(f"ok    {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def run_all(functions, stack, at_once):
    with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
        results = [threads.submit(run, c.__name__, c, stack) for c in functions]
        return all([r.result() for r in results])


def stay_apart(first, second):
    """Two stacks in one account have nothing in common."""
    mine, yours = checks.Client(first, "apart"), checks.Client(second, "apart")
    yours.workspace, yours.token = mine.workspace, mine.token
    pairs = [(first, mine.create()), (second, yours.create())]
    for (stack, sync_id), client, other in zip(pairs, (mine, yours), (second, first)):
        stack.event("sync.created", sync_id)
        eventually("a schedule", lambda: stack.schedule(sync_id))
        expect([s["id"] for s in client.want(200, "GET", checks.SYNCS).body["data"]], [sync_id], "the syncs of a stack")
        expect(other.webhook.received(other.path, subject=sync_id), [], "the events of the other stack")
        expect(other.schedule(sync_id), None, "the schedule in the other stack")


def change_parameters(stack):
    """The alias answers by parameters that change alone."""
    stack.deploy(CreateLimit="1/1h")
    client = checks.Client(stack, "limit")
    client.create()
    answer = client.want(429, "POST", checks.SYNCS, checks.sync())
    expect(answer.headers["RateLimit-Policy"] is not None, True, "RateLimit-Policy is present")
    stage = mutations.Stage(stack)
    stage.update(stage.template, {"TokenIssuer": "https://issuer.example.com/"})
    client.want(401, "GET", checks.SYNCS)


def delete(stack, keeps_table):
    """sam delete removes everything but a table that is kept."""
    table, resources = stack.outputs["TableName"], stack.resources
    stack.delete()
    tables = stack.client("dynamodb").list_tables()["TableNames"]
    expect(table in tables, keeps_table, "the table exists")
    if keeps_table:
        expect(stack.client("dynamodb").scan(TableName=table, Limit=1)["Count"], 1, "the items that are read")
    functions = [f["FunctionName"] for f in stack.client("lambda").list_functions()["Functions"]]
    expect([f for f in functions if f.startswith(stack.name + "-")], [], "the functions")
    buses = [b["Name"] for b in stack.client("events").list_event_buses()["EventBuses"]]
    expect(stack.name in buses, False, "the bus exists")
    groups = [g["Name"] for g in stack.client("scheduler").list_schedule_groups()["ScheduleGroups"]]
    expect(resources["Schedules"] in groups, False, "the schedule group exists")
    queues = stack.client("sqs").list_queues(QueueNamePrefix=stack.name + "-").get("QueueUrls", [])
    expect(queues, [], "the queues")
    expect(stack.send("GET", checks.SYNCS).status, 404, "a request to the API")


SAMPLE = [
    'RelayFunctionChanges: another prefix than "SYNC#"',
    "RelayFunction: variable EVENT_BUS renamed",
    "IntakeRule: detail-type sync.create.requested misspelled",
    "WebhookRule: detail-type sync.created misspelled",
    "ApiFunctionRole: no dynamodb:PutItem",
    "RelayFunctionRole: no events:PutEvents",
    "RelayFunctionRole: no iam:PassRole",
    "BusGuard: denies another action",
]


def try_mutants(stages, mutants):
    """Tries mutants, one at a time on each stage. Returns whether each had the expected result."""
    waiting, results = queue.Queue(), []
    for m in mutants:
        waiting.put(m)

    def work(stage):
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                line, good = stage.attempt(mutant)
            except Failed as err:
                line, good = f"FAIL    {mutant.name}: {err}", False
            results.append(good)
            print(f"{line} ({time.monotonic() - began:.1f} s)", flush=True)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(work, stages))
    return all(results)


def stages(first, names):
    """Returns stages: a deployed stack, if None is among the names, and copies of it."""
    template = mutations.Stage(first).template
    return [mutations.Stage(first) if name is None else mutations.Stage(first.sibling(name), template) for name in names]


def try_sample(first):
    """Tries the mutants of SAMPLE on copies of a stack."""
    copies = stages(first, ["third", "fourth"])
    sample = [m for m in mutations.mutants(copies[0].template) if m.name in SAMPLE]
    expect(len(sample), len(SAMPLE), "the mutations of the sample")
    if not try_mutants(copies, sample):
        raise Failed("see above")


def try_all(first, patterns):
    """Tries all mutants of the template, or those whose names contain one of the patterns."""
    first.deploy()
    copies = stages(first, [None, "third", "fourth", "fifth", "sixth"])
    wanted = [m for m in mutations.mutants(copies[0].template) if not patterns or any(p in m.name for p in patterns)]
    for m in wanted:
        if m.reason:
            print(f"unseen  {m.name}: {m.reason}")
    return try_mutants(copies, [m for m in wanted if not m.reason])


def adopt(deleted):
    """A new stack uses the table that a deleted one left."""
    tables, name = deleted.client("dynamodb"), deleted.outputs["TableName"]
    label = tables.describe_table(TableName=name)["Table"]["LatestStreamLabel"]
    heir = deleted.sibling("heir", TableName=name, TableStreamLabel=label, TokenIssuer="syncplane-local", DomainName="", CertificateArn="",
                           KeepTable="false")
    heir.deploy()
    expect(heir.outputs["TableName"], name, "the table of the stack")
    client = checks.Client(heir, "apart")
    row = next(iter(tables.scan(TableName=name, FilterExpression="begins_with(sk, :sync)", ExpressionAttributeValues={":sync": {"S": "SYNC#"}})["Items"]))
    client.token = heir.token(row["pk"]["S"])
    path = f"{checks.SYNCS}/{row['sk']['S'].removeprefix('SYNC#')}"
    client.want(200, "GET", path)
    client.want(200, "PATCH", path, {"sync": {"stream_name": "adopted"}})
    heir.event("sync.updated", path.split("/")[-1])
    delete(heir, keeps_table=True)  # in spite of KeepTable, because the table is not the stack's


def main():
    known = {c.__name__ for c in checks.checks()} | {"documentation"}
    if "--mutations" not in sys.argv and (unknown := set(sys.argv[1:]) - known):
        sys.exit(f"there are no checks {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    make_certificate()
    keys = public_keys()
    webhook, emulator = Webhook(keys), Emulator()

    def interrupted(*_):
        emulator.stop()
        os._exit(1)  # threads may be waiting
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)

    first = Stack(emulator, webhook, "first", TokenJwksUrl=webhook.url + "/jwks.json", CorsOrigins="https://app.example.com", CreateLimit="1000/1h",
                  EventSenders="111111111111,222222222222", RunRetentionDays="20")
    second = Stack(emulator, webhook, "second", TokenJwks=webhook.keys, KeepTable="true", ReconcileRate="10", DomainName="api.example.com",
                   CertificateArn=f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{uuid.uuid4()}")

    def check_second():
        return (run("sam deploy of a second stack", second.deploy) and run_all(checks.APART, second, 1)
                and run("two stacks stay apart", stay_apart, first, second)
                and run("a change of parameters", change_parameters, second))

    try:
        if sys.argv[1:] and sys.argv[1] == "--mutations":
            return try_all(first, sys.argv[2:])
        if sys.argv[1:] == ["documentation"]:
            return run("the commands of the documentation", documentation.commands, emulator, webhook)
        if sys.argv[1:]:  # some checks
            stack = second if {"check_address", "check_rate"} & set(sys.argv[1:]) else first
            stack.deploy()
            return run_all([c for c in checks.checks() if c.__name__ in sys.argv[1:]], stack, 1)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            passed = run("sam deploy", first.deploy)
            if not passed:
                return False
            others = [threads.submit(check_second), threads.submit(run, "mutations", try_sample, first)]
            passed = run_all(checks.TOGETHER, first, 8)
            passed = all([other.result() for other in others]) and passed
        return (passed and run("the commands of the documentation", documentation.commands, emulator, webhook)
                and run("sam delete with KeepTable", delete, second, True) and run("adopt the table that was kept", adopt, second)
                and run("a request to the stack that is left", checks.check_syncs, first)
                and run("sam delete", delete, first, False))
    finally:
        emulator.stop()


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
