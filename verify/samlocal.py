"""Checks the functions under `sam local`, for verify/samlocal.

make COMMAND    invokes the functions of some events with `make invoke`. COMMAND is that of
                the documentation for events/stream.json.
events COMMAND  invokes the function of each file of events/. COMMAND is that of the
                documentation for ApiFunction and events/create-sync.json.
api CREATE LIST follows a sync through its life over `sam local start-api`, after the
                two commands of the documentation.
"""

import concurrent.futures
import glob
import http.client
import json
import os
import re
import subprocess
import sys
import time

HOST, PORT = "127.0.0.1", 3000

failures = []


def check(what, got, want):
    """Reports whether a value is the one that is expected."""
    if got == want:
        print(f"  ok: {what}")
    else:
        print(f"  FAILED: {what}\n    got  {got}\n    want {want}")
        failures.append(what)


def function_of(event):
    """Returns the function that an event is for."""
    records = event.get("Records", [{}])
    if records[0].get("eventSource") == "aws:dynamodb" or records[0].get("eventSourceARN", "").endswith(":watch"):
        return "RelayFunction"
    if records[0].get("eventSource") == "aws:sqs" or "detail-type" in event:
        return "IntakeFunction"
    return "ApiFunction"


def masked(text):
    """Returns an answer without the IDs and times, which differ in each run."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", text)


def invoke(command):
    """Runs a command of sam, and returns the answer of the function and the log."""
    for attempt in range(3):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)
        # The runtime interface emulator of the image may start a function before its
        # Runtime API listens. Such a function ends before it has seen the event.
        if not re.search(r"failed to get the next invoke: .*:9001: connect: connection refused", done.stderr):
            break
        print(f"  the emulator refused the function, attempt {attempt + 1}: {command}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    try:
        return json.loads(masked(lines[-1])), done.stderr
    except (IndexError, ValueError):
        return f"exit status {done.returncode}: {done.stdout}", done.stderr


def outcomes(log):
    """Returns the outcomes that a function logged."""
    return sorted(re.findall(r'"outcome":"([^"]*)"', log))


def invoke_events(command):
    """Invokes the function of each event and compares the answers."""
    # What the other functions log. The syncs of these events are not in the table,
    # except those that the events create.
    logged = {
        "create-requested": ["created"],
        "queue": ["created", "rejected"],
        "run-reported": ["rejected"],
        "run-requested": ["rejected"],
        "stream": [],
        "watch": ["ended"],
    }
    commands = {"reconcile": re.sub(" -e [^ ]*", "", command.replace("ApiFunction", "ReconcileFunction"))}
    for file in sorted(glob.glob("events/*.json")):
        with open(file, encoding="utf-8") as text:
            function = function_of(json.load(text))
        name = os.path.basename(file).removesuffix(".json")
        commands[name] = command.replace("ApiFunction", function).replace("events/create-sync.json", file)
    first = invoke(commands["create-sync"])  # it builds the image; the others use it
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        results = dict(zip(commands, pool.map(invoke, commands.values())))
    results["create-sync"] = first
    for name, (answer, log) in results.items():
        before = len(failures)
        if name == "reconcile":
            # The syncs of the other events have no schedules yet: nothing relays the
            # stream of the table under `sam local`.
            check("reconcile", {key: answer.get(key) for key in ("removed", "expired")} if isinstance(answer, dict) else answer, {"removed": 0, "expired": 0})
        elif name in logged:
            check(name, answer, {"batchItemFailures": []})
            check(f"{name}: the log", outcomes(log), logged[name])
        else:
            with open(f"functions/api/testdata/{name}.golden.json", encoding="utf-8") as text:
                want = json.load(text)
            if isinstance(answer, dict):
                answer.setdefault("cookies", [])
            check(name, answer, want)
        if len(failures) > before:
            print(log)


def make_invoke(command):
    """Invokes functions without Docker, over the same emulators."""
    for name in ("stream", "watch", "queue", "run-requested"):
        answer, log = invoke(command.replace("stream.json", f"{name}.json"))
        check(f"make invoke: {name}", answer, {"batchItemFailures": []})
        if failures:
            print(log)


def token(settings=""):
    """Returns the token that `make -s token` prints."""
    return subprocess.run(f"make -s token {settings}", shell=True, capture_output=True, text=True, check=True).stdout.strip()


class Client:
    """Calls the API with one token."""

    def __init__(self, bearer):
        self.bearer = bearer

    def call(self, method, path, body=None, **headers):
        """Returns the status, the headers and the body of a response."""
        connection = http.client.HTTPConnection(HOST, PORT, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        try:
            return response.status, response.headers, json.loads(text or b"null")
        except ValueError:
            return response.status, response.headers, text


def await_api():
    """Waits until start-api accepts connections."""
    limit = time.monotonic() + 180
    while time.monotonic() < limit:
        try:
            if Client("").call("GET", "/api/v1/openapi.json")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("start-api does not respond")


def answer_of(command):
    """Runs a command of the documentation, and returns the document that it prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"output": done.stdout + done.stderr}


def call_api(create, listing):
    """Follows a sync through its life, after two commands of the documentation."""
    await_api()
    owner, reader, anonymous = Client(token()), Client(token("SCOPE=syncs:read")), Client("")
    with open("events/create-sync.json", encoding="utf-8") as text:
        sample = json.load(text)
    writer = Client(sample["headers"]["authorization"].removeprefix("Bearer "))
    new = json.loads(sample["body"])

    check("the create of README", answer_of(create).get("type"), "syncs")
    check("the documented list", [one["type"] for one in answer_of(listing).get("data", [])[:1]], ["syncs"])

    status, headers, made = owner.call("POST", "/api/v1/syncs", new)
    check("create", (status, made.get("type"), made["attributes"]["status"]), (200, "syncs", "pending"))
    path = f"/api/v1/syncs/{made['id']}"
    check("create: Location", headers["Location"], path)
    status, headers, read = reader.call("GET", path)
    check("read", (status, read["attributes"]["stream_name"], headers["ETag"]), (200, "contacts", '"1"'))
    check("read again", reader.call("GET", path, If_None_Match='"1"')[0], 304)
    status, _, listed = reader.call("GET", "/api/v1/syncs?page%5Bsize%5D=1")
    check("list", (status, [one["id"] for one in listed["data"]]), (200, [made["id"]]))
    status, headers, changed = owner.call("PATCH", path, {"sync": {"stream_name": "companies"}}, If_Match='"1"')
    check("change", (status, changed["attributes"]["stream_name"], headers["ETag"]), (200, "companies", '"2"'))
    status, _, answer = owner.call("PATCH", path, {"sync": {"stream_name": "people"}}, If_Match='"1"')
    check("change with an old ETag", (status, answer["errors"][0]["code"]), (412, "version_mismatch"))
    for enable, want in ((False, "disabled"), (True, "pending")):
        status, _, answer = owner.call("PATCH", f"{path}/enable", {"enable": enable})
        check(f"enable {enable}", (status, answer["attributes"]["status"]), (200, want))

    status, _, run = owner.call("POST", f"{path}/sync_runs", {})
    check("trigger", (status, run["attributes"]["status"]), (201, "queued"))
    run_path = f"{path}/sync_runs/{run['attributes']['scheduled_time']}"
    status, _, claimed = owner.call("POST", f"{run_path}/claim", {"executor": "worker"})
    check("claim", (status, claimed["attributes"]["status"]), (200, "in_progress"))
    fence = claimed["attributes"]["fence"]
    check("heartbeat", owner.call("POST", f"{run_path}/heartbeat", {"fence": fence})[0], 200)
    status, _, ended = owner.call("POST", f"{run_path}/finish", {"fence": fence, "status": "success"})
    check("finish", (status, ended["attributes"]["status"]), (200, "success"))
    status, _, listed = reader.call("GET", f"{path}/sync_runs")
    check("runs", (status, [one["attributes"]["status"] for one in listed["data"]]), (200, ["success"]))
    check("the sync after its run", reader.call("GET", path)[2]["attributes"]["status"], "healthy")

    status, _, answer = reader.call("POST", "/api/v1/syncs", new)
    check("create with syncs:read", (status, answer["errors"][0]["code"]), (403, "insufficient_scope"))
    status, _, answer = anonymous.call("GET", "/api/v1/syncs")
    check("list without a token", (status, answer["errors"][0]["code"]), (401, "token_missing"))
    status, _, answer = owner.call("POST", "/api/v1/syncs", {"sync": {"source_id": 0}})
    check("create of an invalid sync", status, 422)
    status, _, sampled = writer.call("POST", "/api/v1/syncs", new)
    check("create with the token of the sample events", status, 200)
    check("delete", owner.call("DELETE", path)[0], 204)
    check("read after it", reader.call("GET", path)[0], 404)

    # What sam does otherwise than API Gateway; docs/operations.md describes it.
    first, second = (reader.call("GET", "/api/v1/syncs")[1]["X-Request-Id"] for _ in range(2))
    check("sam: one ID for all requests", first, second)
    began = time.monotonic()
    for _ in range(5):
        reader.call("GET", path)
    print(f"  a request takes {(time.monotonic() - began) / 5:.2f} s")
    check("sam: HEAD", reader.call("HEAD", "/api/v1/syncs")[0], 502)
    check("sam: a body that is not UTF-8", owner.call("POST", "/api/v1/syncs", b"\xff")[0], 502)


if sys.argv[1] == "make":
    make_invoke(sys.argv[2])
elif sys.argv[1] == "events":
    invoke_events(sys.argv[2])
else:
    call_api(*sys.argv[2:])
if failures:
    sys.exit(f"{len(failures)} checks failed")
