// Reads the event stream of the server whose address is the first argument with an
// independent EventSource client. The environment holds TOKEN and SHORT_TOKEN, which
// expires within seconds. It exits with status 1 if an event differs from the created
// sync, or the stream does not end as docs/events.md describes.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";

const address = process.argv[2];
const { TOKEN: token, SHORT_TOKEN: shortToken } = process.env;

const breaks = ["", "\n", "\r", "\r\n", "\n\r", "\n\n", "\r\r", "\r\n\r\n", " \r\t\n "];
const configurations = breaks.map((br) => `{~"a"~:~[~1.5~,~"\\r\\n\u2028"~]~,~"data"~:~{~"id"~:~null~}~}`.replaceAll("~", br));

function open(bearer, lastEventID) {
  return new EventSource(`${address}/api/v1/events`, {
    fetch: (url, init) => {
      const headers = { ...init.headers, Authorization: `Bearer ${bearer}` };
      if (lastEventID !== undefined) headers["Last-Event-ID"] ??= lastEventID;
      return fetch(url, { ...init, headers });
    },
  });
}

async function create(configuration) {
  const response = await fetch(`${address}/api/v1/syncs`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":${configuration},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`,
  });
  assert.equal(response.status, 200, await response.text());
}

const opened = (source) => new Promise((resolve, reject) => {
  source.addEventListener("open", resolve, { once: true });
  source.addEventListener("error", reject, { once: true });
});

// received resolves with the next count events of a stream.
const received = (source, count) => new Promise((resolve, reject) => {
  const events = [];
  source.addEventListener("error", reject);
  source.addEventListener("sync.created", (event) => {
    events.push(event);
    if (events.length === count) resolve(events);
  });
});

function check(events) {
  events.forEach((event, i) => {
    assert.match(event.lastEventId, /^[1-9][0-9]*$/);
    assert.deepEqual(JSON.parse(event.data).data.attributes.configuration, JSON.parse(configurations[i]));
  });
  console.log(`${events.length} events`);
}

// refused resolves with the status that ends a stream permanently.
const refused = (source) => new Promise((resolve) => {
  source.addEventListener("error", (event) => {
    if (source.readyState === source.CLOSED) resolve(event.code);
  });
});

setTimeout(() => {
  console.log("it takes too long");
  process.exit(1);
}, 60_000).unref();

const live = open(token);
await opened(live);
const events = received(live, configurations.length);
for (const configuration of configurations) await create(configuration);
check(await events);
live.close();

const again = open(token, "0");
check(await received(again, configurations.length));
again.close();

assert.equal(await refused(open(token, "900000000000")), 400);
assert.equal(await refused(open(token, "x")), 400);
console.log("unknown ids are refused");

const short = open(shortToken);
await opened(short);
assert.equal(await refused(short), 401);
console.log("the stream of an expired token ended");
