# Claims, extends and reports runs with curl and jq, for workers in bash. Copy this file
# to your worker and source it. API is the address of the server, TOKEN a token or an API
# key.
set -euo pipefail
trap 'exit 130' INT # also when curl or jq has just ended

# call PATH [OPTION…] sends a request, and repeats it if the server cannot be reached.
call() {
	curl -gsS --fail-with-body --retry 5 --retry-connrefused \
		-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$API$1" "${@:2}"
}

# queued prints the paths of the runs of the workspace that are queued.
queued() {
	local page next='/api/v1/sync_runs?filter[status]=queued'
	while [[ -n $next ]]; do
		page=$(call "$next") || {
			printf '%s\n' "$page" >&2
			return 1
		}
		jq -r '.data[].attributes | "/api/v1/syncs/\(.sync_id)/sync_runs/\(.scheduled_time)"' <<<"$page"
		next=$(jq -r '.links.next // empty' <<<"$page")
	done
}

# claim RUN prints the claim, in which sync is the sync. It fails if the run cannot be
# claimed.
claim() {
	call "$1/claim" -d "{\"executor\":\"$HOSTNAME-$$\"}"
}

# heartbeat RUN CLAIM extends the lease. It fails if the work must stop.
heartbeat() {
	call "$1/heartbeat" -d "$(jq -c '{fence: .attributes.fence}' <<<"$2")" |
		jq -e '.attributes.cancel_requested_at | not' >/dev/null
}

# stop PROCESS stops the program of a run that is to be reported as canceled.
stop() {
	status=canceled
	kill "$1" 2>/dev/null || true # it may have ended
}

# finish RUN CLAIM STATUS reports the end. After a 409 the report has no effect.
finish() {
	call "$1/finish" -d "$(jq -c --arg status "$3" '{fence: .attributes.fence, status: $status}' <<<"$2")" |
		jq -c '.errors // [.id, .attributes.status]' || true
}
