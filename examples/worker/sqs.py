"""A Lambda function behind a queue with the events sync.run.queued."""
import json
import rows
import syncplane

def handler(event, context):
    message = event["Records"][0]
    queued = json.loads(message["body"])["detail"]
    run = syncplane.claim(queued["data"]["id"], queued["workspace"],
                          executor=message["messageId"], lease_seconds=960)
    if run:  # if not: 404 or 409, drop the message
        status = rows.copy(run.claim)  # yours; returns "success" or "failed"
        run.finish(status)
