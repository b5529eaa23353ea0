#!/usr/bin/env bash
# Claims the queued runs of a workspace. The program COPY gets each on its standard
# input: the response to the claim, with the sync. SIGTERM stops it.
set -euo pipefail
call() { curl -gsS --fail-with-body --retry 5 --retry-connrefused -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$API$1" "${@:2}"; }
while page=$(call "${next:=/api/v1/sync_runs?filter[status]=queued}") || exit; do
  for run in $(jq -r '.data[].attributes | "/api/v1/syncs/\(.sync_id)/sync_runs/\(.scheduled_time)"' <<<"$page"); do
    claim=$(call "$run/claim" -d "{\"executor\":\"$HOSTNAME-$$\"}") || continue # 409: another worker has it
    fence=$(jq .attributes.fence <<<"$claim") status=failed
    exec 3< <(exec bash -c "$COPY" <<<"$claim" 4>&1 >&2) # it ends when COPY does
    until read -rt "${HEARTBEAT:-60}" -u 3 || (($? == 1)); do
      call "$run/heartbeat" -d "{\"fence\":$fence}" | jq -e '.attributes.cancel_requested_at | not' >&2 || { status=canceled && kill $!; } || true
    done
    if wait $!; then status=success; fi
    call "$run/finish" -d "{\"fence\":$fence,\"status\":\"$status\"}" | jq -c '.errors // [.id, .attributes.status]' || true
  done
  next=$(jq -r '.links.next // empty' <<<"$page") && [ -n "$next" ] || sleep "${POLL:-5}"
done
