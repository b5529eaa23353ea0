// Uses the API with the client of @hey-api/openapi-ts.
import * as api from "./generated/hey-api";
import { client } from "./generated/hey-api/client.gen";

client.setConfig({ baseUrl: process.env.API, auth: process.env.TOKEN });

const newSync = (source_id: number): api.NewSync => ({
  source_id,
  destination_id: 2,
  model_id: 3,
  schedule_type: "automated",
  configuration: { a: 1 },
  stream_name: "contacts",
  sync_mode: "full_refresh",
  sync_interval: 30,
  sync_interval_unit: "minutes",
});

// must returns the answer, or throws the errors.
function must<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

async function main() {
  const ids: string[] = [];
  for (const source of [4294967297, 4294967298, 4294967299]) {
    const sync = must(await api.createSync({ body: { sync: newSync(source) } }));
    console.log("created", sync.attributes.source_id, sync.attributes.stream_name, sync.attributes.status);
    ids.push(sync.id);
  }
  for (let after: string | undefined; ; ) {
    const page: api.SyncList = must(await api.listSyncs({ query: { "page[size]": 2, "page[after]": after } }));
    console.log("page", ...page.data.map((sync) => sync.attributes.source_id));
    if (page.meta.page.after === null) break;
    after = page.meta.page.after;
  }

  const path = { id: ids[0] };
  const read = await api.readSync({ path });
  const headers = { "If-Match": read.response?.headers.get("ETag") ?? "" };
  const change = { path, headers, body: { sync: { stream_name: "companies" } } };
  const changed = must(await api.changeSync(change));
  console.log("changed", changed.attributes.stream_name, changed.attributes.sync_mode);
  const refused = await api.changeSync(change);
  console.log("refused", refused.response?.status, refused.error?.errors[0].code);
  const enable = async (enable: boolean) => must(await api.enableSync({ path, body: { enable } }));
  console.log("paused", (await enable(false)).attributes.status);
  console.log("resumed", (await enable(true)).attributes.status);

  const run = must(await api.triggerRun({ path }));
  console.log("triggered", run.attributes.status, run.attributes.trigger);
  const one = { ...path, time: run.attributes.scheduled_time };
  const claimed = must(await api.claimRun({ path: one, body: { sync_run: { executor: "worker-1" } } }));
  console.log("claimed", claimed.attributes.status, claimed.attributes.executor, claimed.sync.attributes.source_id);
  const fence = claimed.attributes.fence ?? 0;
  const finished = must(await api.finishRun({ path: one, body: { sync_run: { fence, status: "success", counters: { total_rows: 4294967296 } } } }));
  console.log("finished", finished.attributes.status, finished.attributes.total_rows);

  const deleted = await api.deleteSync({ path });
  console.log("deleted", deleted.response?.status);
  const gone = await api.readSync({ path });
  console.log("gone", gone.response?.status, gone.error?.errors[0].code);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
