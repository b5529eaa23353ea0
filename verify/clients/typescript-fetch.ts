// Uses the API with the client of openapi-generator's typescript-fetch.
import { Configuration, type Errors, type NewSync, ResponseError, RunsApi, SyncsApi } from "./generated/typescript-fetch";

const configuration = new Configuration({ basePath: process.env.API, accessToken: process.env.TOKEN });
const syncs = new SyncsApi(configuration);
const runs = new RunsApi(configuration);

const newSync = (sourceId: number): NewSync => ({
  sourceId,
  destinationId: 2,
  modelId: 3,
  scheduleType: "automated",
  _configuration: { a: 1 },
  streamName: "contacts",
  syncMode: "full_refresh",
  syncInterval: 30,
  syncIntervalUnit: "minutes",
});

// refusal returns the status and the code with which a request is refused.
async function refusal(request: Promise<unknown>): Promise<[number, string]> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    const body: Errors = await error.response.json();
    return [error.response.status, body.errors[0].code];
  }
  throw new Error("the request was accepted");
}

async function main() {
  const ids: string[] = [];
  for (const source of [4294967297, 4294967298, 4294967299]) {
    const sync = await syncs.createSync({ createSync: { sync: newSync(source) } });
    console.log("created", sync.attributes.sourceId, sync.attributes.streamName, sync.attributes.status);
    ids.push(sync.id);
  }
  for (let pageAfter: string | undefined; ; ) {
    const page = await syncs.listSyncs({ pageSize: 2, pageAfter });
    console.log("page", ...page.data.map((sync) => sync.attributes.sourceId));
    if (page.meta.page.after === null) break;
    pageAfter = page.meta.page.after;
  }

  const id = ids[0];
  const read = await syncs.readSyncRaw({ id });
  const ifMatch = read.raw.headers.get("ETag") ?? "";
  const change = { id, ifMatch, changeSync: { sync: { streamName: "companies" } } };
  const changed = await syncs.changeSync(change);
  console.log("changed", changed.attributes.streamName, changed.attributes.syncMode);
  console.log("refused", ...(await refusal(syncs.changeSync(change))));
  console.log("paused", (await syncs.enableSync({ id, enable: { enable: false } })).attributes.status);
  console.log("resumed", (await syncs.enableSync({ id, enable: { enable: true } })).attributes.status);

  const run = await runs.triggerRun({ id });
  console.log("triggered", run.attributes.status, run.attributes.trigger);
  const time = run.attributes.scheduledTime;
  const claimed = await runs.claimRun({ id, time, claimSyncRun: { syncRun: { executor: "worker-1" } } });
  console.log("claimed", claimed.attributes.status, claimed.attributes.executor, claimed.sync.attributes.sourceId);
  const fence = claimed.attributes.fence ?? 0;
  const finished = await runs.finishRun({ id, time, finishSyncRun: { syncRun: { fence, status: "success", counters: { totalRows: 4294967296 } } } });
  console.log("finished", finished.attributes.status, finished.attributes.totalRows);

  console.log("deleted", (await syncs.deleteSyncRaw({ id })).raw.status);
  console.log("gone", ...(await refusal(syncs.readSync({ id }))));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
