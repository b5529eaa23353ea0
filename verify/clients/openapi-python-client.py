"""Uses the API with the client of openapi-python-client."""

import os

from openapi_python_client_api.api.runs import claim_run, finish_run, trigger_run
from openapi_python_client_api.api.syncs import change_sync, create_sync, delete_sync, enable_sync, list_syncs, read_sync
from openapi_python_client_api.client import AuthenticatedClient
from openapi_python_client_api.models import (
    ChangeSync, ClaimSyncRun, CreateSync, Enable, FinishSyncRun, NewSync, ScheduleType, SyncChange, SyncConfiguration,
    SyncIntervalUnit, SyncMode, SyncRunClaim, SyncRunCounters, SyncRunOutcome, SyncRunReport,
)  # fmt: skip
from openapi_python_client_api.types import UNSET

client = AuthenticatedClient(base_url=os.environ["API"], token=os.environ["TOKEN"])

ids = []
for source in (4294967297, 4294967298, 4294967299):
    new = NewSync(
        source_id=source, destination_id=2, model_id=3, schedule_type=ScheduleType.AUTOMATED, configuration=SyncConfiguration.from_dict({"a": 1}),
        stream_name="contacts", sync_mode=SyncMode.FULL_REFRESH, sync_interval=30, sync_interval_unit=SyncIntervalUnit.MINUTES,
    )  # fmt: skip
    sync = create_sync.sync(client=client, body=CreateSync(sync=new))
    print("created", sync.attributes.source_id, sync.attributes.stream_name, sync.attributes.status.value)
    ids.append(sync.id)
after = UNSET
while after is not None:
    page = list_syncs.sync(client=client, pagesize=2, pageafter=after)
    print("page", *(sync.attributes.source_id for sync in page.data))
    after = page.meta.page.after

read = read_sync.sync_detailed(ids[0], client=client)
tag, change = read.headers["ETag"], ChangeSync(sync=SyncChange(stream_name="companies"))
changed = change_sync.sync(ids[0], client=client, body=change, if_match=tag)
print("changed", changed.attributes.stream_name, changed.attributes.sync_mode.value)
refused = change_sync.sync_detailed(ids[0], client=client, body=change, if_match=tag)
print("refused", refused.status_code.value, refused.parsed.errors[0].code.value)
print("paused", enable_sync.sync(ids[0], client=client, body=Enable(enable=False)).attributes.status.value)
print("resumed", enable_sync.sync(ids[0], client=client, body=Enable(enable=True)).attributes.status.value)

run = trigger_run.sync(ids[0], client=client)
print("triggered", run.attributes.status.value, run.attributes.trigger.value)
time = run.attributes.scheduled_time
claimed = claim_run.sync(ids[0], time, client=client, body=ClaimSyncRun(sync_run=SyncRunClaim(executor="worker-1")))
print("claimed", claimed.attributes.status.value, claimed.attributes.executor, claimed.sync.attributes.source_id)
report = SyncRunReport(fence=claimed.attributes.fence, status=SyncRunOutcome.SUCCESS, counters=SyncRunCounters(total_rows=4294967296))
finished = finish_run.sync(ids[0], time, client=client, body=FinishSyncRun(sync_run=report))
print("finished", finished.attributes.status.value, finished.attributes.total_rows)

print("deleted", delete_sync.sync_detailed(ids[0], client=client).status_code.value)
gone = read_sync.sync_detailed(ids[0], client=client)
print("gone", gone.status_code.value, gone.parsed.errors[0].code.value)
