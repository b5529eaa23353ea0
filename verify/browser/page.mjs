// Uses the API reference as a reader does, in headless Chromium: authorize, create,
// list, trigger, and read the run. Arguments: the address of the local server, and the
// directory for the screenshots. TOKEN is a bearer token, and CHROMIUM the browser.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createRequire } from "node:module";

import { chromium } from "playwright-core";

const [address, directory] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = []; // what no visit of the page may have

// check writes what was checked, and fails if it does not hold.
function check(what, actual, expected = true) {
  assert.deepEqual(actual, expected, what);
  console.log(`  ${what}`);
}

// watch records errors and requests to other hosts.
function watch(page) {
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`console ${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== address) problems.push(`request to ${url.origin}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) problems.push(`status ${response.status()} of ${response.url()}`);
  });
}

// accessible runs axe and checks that it finds nothing critical or serious, and that
// the page is not wider than the window.
async function accessible(page, state) {
  await page.evaluate(axe); // as a script of the browser's debugger, which the policy of the page does not limit
  const violations = await page.evaluate(async () => (await axe.run(document)).violations.map((v) => `${v.impact} ${v.id}: ${v.nodes[0].html.slice(0, 120)}`));
  check(`${state}: axe finds nothing critical or serious`, violations.filter((v) => /^(critical|serious)/.test(v)), []);
  for (const violation of violations) console.log(`    note: ${violation}`);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  check(`${state}: ${width[1]} px wide without horizontal overflow`, width[0] <= width[1]);
}

// operation opens an operation and its form, and returns it.
async function operation(page, id) {
  const block = page.locator(`[id$="-${id}"].opblock`);
  await block.locator(".opblock-summary-control").click();
  await block.getByRole("button", { name: "Try it out" }).click();
  return block;
}

// execute sends the request of an operation and returns the status and the body.
async function execute(block) {
  await block.getByRole("button", { name: "Execute" }).click();
  const live = block.locator(".live-responses-table tr.response").first();
  await live.waitFor();
  const status = Number((await live.locator(".response-col_status").innerText()).match(/\d+/)[0]);
  return { status, body: JSON.parse(await live.locator(".code .microlight").first().innerText()) };
}

async function fill(block, name, value) {
  await block.locator(`tr[data-param-name="${name}"] input`).fill(value);
}

async function open(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(120_000); // a busy machine needs long to draw all operations
  watch(page);
  const response = await page.goto(`${address}/docs`);
  check("the policy permits no other host and no inline script", /default-src 'none'; script-src 'self';/.test(response.headers()["content-security-policy"]));
  await page.locator(".opblock").first().waitFor();
  return page;
}

const closed = (page) => page.locator(".auth-wrapper .authorize.locked").count();

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  console.log(`Chromium ${browser.version()}`);
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, permissions: ["clipboard-read", "clipboard-write"] });
  const page = await open(context);
  check("the viewport is that of the device", await page.evaluate(() => document.querySelector("meta[name=viewport]").content), "width=device-width, initial-scale=1");
  check("there is no select of servers", await page.locator("#servers, .servers select").count(), 0);
  check("common headers are described once", await page.getByText("Clients must not guess another Content-Type.").count(), 1);
  await accessible(page, "closed");
  await page.screenshot({ path: join(directory, "page-phone.png") });

  await page.locator(".auth-wrapper .authorize").click();
  await page.locator(".auth-container input").fill(process.env.TOKEN);
  await accessible(page, "dialog");
  await page.screenshot({ path: join(directory, "page-authorize.png") });
  await page.locator(".auth-btn-wrapper").getByRole("button", { name: /authorize/i }).click();
  await page.locator(".auth-btn-wrapper").getByRole("button", { name: "Close" }).click();
  check("the page is authorized", await closed(page), 1);
  await page.reload();
  await page.locator(".auth-wrapper .authorize.locked").waitFor();
  check("and after a reload", await closed(page), 1);
  check("the token is not in the storage that outlives the session", await page.evaluate(() => localStorage.length + document.cookie.length), 0);

  let block = await operation(page, "createSync");
  const height = await block.evaluate((element) => element.offsetHeight);
  check(`create is ${height} px high when it is opened, at most 4500`, height <= 4500);
  await accessible(page, "create");
  await page.screenshot({ path: join(directory, "page-create.png"), fullPage: true });
  const created = await execute(block);
  check("create: 200", created.status, 200);
  await accessible(page, "created");
  await block.getByRole("button", { name: "Copy" }).first().click();
  check("the command can be copied", (await page.evaluate(() => navigator.clipboard.readText())).startsWith("curl "));

  block = await operation(page, "listSyncs");
  const list = await execute(block);
  check("list: the sync", [list.status, list.body.data?.[0]?.id ?? list.body[0]?.id], [200, created.body.id]);

  block = await operation(page, "triggerRun");
  await fill(block, "id", created.body.id);
  const run = await execute(block);
  check("trigger: a run that is queued", [run.status, run.body.attributes.status], [201, "queued"]);

  block = await operation(page, "readRun");
  await fill(block, "id", created.body.id);
  await fill(block, "time", run.body.attributes.scheduled_at ?? run.body.id.split("/").pop());
  const read = await execute(block);
  check("read: the run", [read.status, read.body.id], [200, run.body.id]);
  await accessible(page, "all of these");
  await page.screenshot({ path: join(directory, "page-run.png"), fullPage: true });

  // Another session, which is that of a desktop, has no token.
  const desktop = await open(await browser.newContext({ viewport: { width: 1280, height: 900 } }));
  check("another session is not authorized", await closed(desktop), 0);
  block = await operation(desktop, "createSync");
  await accessible(desktop, "desktop");
  await desktop.screenshot({ path: join(directory, "page-desktop.png"), fullPage: true });

  // Every operation, with its errors and schemas.
  const all = await open(context);
  const click = (selector) => all.locator(selector).evaluateAll((elements) => elements.forEach((element) => element.click()));
  await click(".opblock:not(.is-open) .opblock-summary-control");
  await all.locator(".responses-inner").nth((await all.locator(".opblock").count()) - 1).waitFor();
  await click("summary");
  await click(".tablinks[data-name=model]");
  check("all operations are open", await all.locator(".opblock:not(.is-open)").count(), 0);
  await accessible(all, "everything");

  // Logout removes the token.
  await page.locator(".auth-wrapper .authorize").click();
  await page.locator(".auth-btn-wrapper").getByRole("button", { name: "Logout" }).click();
  await page.reload();
  await page.locator(".auth-wrapper .authorize.unlocked").waitFor();
  check("the token is removed by a logout", await page.evaluate(() => sessionStorage.length), 0);

  check("no error, no warning, no status above 399, no request to another host", problems, []);
} finally {
  await browser.close();
}
