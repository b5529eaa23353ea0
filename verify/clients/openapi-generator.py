"""Uses the API with the Python client of openapi-generator."""

import json
import os

from openapi_client import (
    ApiClient, ApiException, ChangeSync, ClaimSyncRun, Configuration, CreateSync, Enable, FinishSyncRun, NewSync, RunsApi,
    ScheduleType, SyncChange, SyncIntervalUnit, SyncMode, SyncRunClaim, SyncRunCounters, SyncRunOutcome, SyncRunReport, SyncsApi,
)  # fmt: skip

client = ApiClient(Configuration(host=os.environ["API"], access_token=os.environ["TOKEN"]))
syncs, runs = SyncsApi(client), RunsApi(client)


def refusal(request, *arguments, **named):
    """Return the status and the code with which a request is refused."""
    try:
        request(*arguments, **named)
    except ApiException as refused:
        return refused.status, json.loads(refused.body)["errors"][0]["code"]
    raise AssertionError("the request was accepted")


ids = []
for source in (4294967297, 4294967298, 4294967299):
    new = NewSync(
        source_id=source, destination_id=2, model_id=3, schedule_type=ScheduleType.AUTOMATED, configuration={"a": 1},
        stream_name="contacts", sync_mode=SyncMode.FULL_REFRESH, sync_interval=30, sync_interval_unit=SyncIntervalUnit.MINUTES,
    )  # fmt: skip
    sync = syncs.create_sync(CreateSync(sync=new))
    print("created", sync.attributes.source_id, sync.attributes.stream_name, sync.attributes.status.value)
    ids.append(sync.id)
page = syncs.list_syncs(page_size=2)
while True:
    print("page", *(sync.attributes.source_id for sync in page.data))
    if page.meta.page.after is None:
        break
    page = syncs.list_syncs(page_size=2, page_after=page.meta.page.after)

read = syncs.read_sync_with_http_info(ids[0])
tag = {name.lower(): value for name, value in read.headers.items()}["etag"]
change = ChangeSync(sync=SyncChange(stream_name="companies"))
changed = syncs.change_sync(ids[0], change, if_match=tag)
print("changed", changed.attributes.stream_name, changed.attributes.sync_mode.value)
print("refused", *refusal(syncs.change_sync, ids[0], change, if_match=tag))
print("paused", syncs.enable_sync(ids[0], Enable(enable=False)).attributes.status.value)
print("resumed", syncs.enable_sync(ids[0], Enable(enable=True)).attributes.status.value)

run = runs.trigger_run(ids[0])
print("triggered", run.attributes.status.value, run.attributes.trigger.value)
time = run.attributes.scheduled_time
claimed = runs.claim_run(ids[0], time, ClaimSyncRun(sync_run=SyncRunClaim(executor="worker-1")))
print("claimed", claimed.attributes.status.value, claimed.attributes.executor, claimed.sync.attributes.source_id)
report = SyncRunReport(fence=claimed.attributes.fence, status=SyncRunOutcome.SUCCESS, counters=SyncRunCounters(total_rows=4294967296))
finished = runs.finish_run(ids[0], time, FinishSyncRun(sync_run=report))
print("finished", finished.attributes.status.value, finished.attributes.total_rows)

print("deleted", syncs.delete_sync_with_http_info(ids[0]).status_code)
print("gone", *refusal(syncs.read_sync, ids[0]))
