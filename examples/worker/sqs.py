"""A Lambda function behind a queue with the events sync.run.queued. BatchSize is 1,
the function's timeout 15 minutes, the queue's visibility timeout longer. rows.copy is
yours and returns "success" or "failed". After an exception SQS delivers again."""
import http.client, json, os, rows

def post(run, action, **body):
    server = http.client.HTTPSConnection(os.environ["API_HOST"], timeout=10)
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json", "Syncplane-Workspace": run["workspace"]}
    server.request("POST", "/api/v1/syncs/" + run["data"]["id"].replace("/", "/sync_runs/") + action, json.dumps(body), headers)
    answer = server.getresponse()
    if answer.status not in (200, 404, 409):
        raise RuntimeError(f"{action}: {answer.status}")
    return json.load(answer)

def handler(event, context):
    message = event["Records"][0]
    run = json.loads(message["body"])["detail"]
    claim = post(run, "/claim", executor=message["messageId"], lease_seconds=960)
    if "attributes" in claim:  # if not: 404 or 409, drop the message
        status = rows.copy(claim)
        post(run, "/finish", fence=claim["attributes"]["fence"], status=status)
