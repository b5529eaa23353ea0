// Uses the API with openapi-fetch and the types of openapi-typescript.
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/openapi-typescript";

const client = createClient<paths>({
  baseUrl: process.env.API ?? "",
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
});

const newSync = (source_id: number): components["schemas"]["NewSync"] => ({
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
    const sync = must(await client.POST("/api/v1/syncs", { body: { sync: newSync(source) } }));
    console.log("created", sync.attributes.source_id, sync.attributes.stream_name, sync.attributes.status);
    ids.push(sync.id);
  }
  for (let after: string | undefined; ; ) {
    const page = must(await client.GET("/api/v1/syncs", { params: { query: { "page[size]": 2, "page[after]": after } } }));
    console.log("page", ...page.data.map((sync) => sync.attributes.source_id));
    if (page.meta.page.after === null) break;
    after = page.meta.page.after;
  }

  const path = { id: ids[0] };
  const read = await client.GET("/api/v1/syncs/{id}", { params: { path } });
  const header = { "If-Match": read.response.headers.get("ETag") ?? "" };
  const change = { params: { path, header }, body: { sync: { stream_name: "companies" } } };
  const changed = must(await client.PATCH("/api/v1/syncs/{id}", change));
  console.log("changed", changed.attributes.stream_name, changed.attributes.sync_mode);
  const refused = await client.PATCH("/api/v1/syncs/{id}", change);
  console.log("refused", refused.response.status, refused.error?.errors[0].code);
  const enable = async (enable: boolean) => must(await client.PATCH("/api/v1/syncs/{id}/enable", { params: { path }, body: { enable } }));
  console.log("paused", (await enable(false)).attributes.status);
  console.log("resumed", (await enable(true)).attributes.status);

  const run = must(await client.POST("/api/v1/syncs/{id}/sync_runs", { params: { path } }));
  console.log("triggered", run.attributes.status, run.attributes.trigger);
  const params = { path: { ...path, time: run.attributes.scheduled_time } };
  const claimed = must(await client.POST("/api/v1/syncs/{id}/sync_runs/{time}/claim", { params, body: { sync_run: { executor: "worker-1" } } }));
  console.log("claimed", claimed.attributes.status, claimed.attributes.executor, claimed.sync.attributes.source_id);
  const fence = claimed.attributes.fence ?? 0;
  const body = { sync_run: { fence, status: "success" as const, counters: { total_rows: 4294967296 } } };
  const finished = must(await client.POST("/api/v1/syncs/{id}/sync_runs/{time}/finish", { params, body }));
  console.log("finished", finished.attributes.status, finished.attributes.total_rows);

  const deleted = await client.DELETE("/api/v1/syncs/{id}", { params: { path } });
  console.log("deleted", deleted.response.status);
  const gone = await client.GET("/api/v1/syncs/{id}", { params: { path } });
  console.log("gone", gone.response.status, gone.error?.errors[0].code);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
