// Chromium with the official client and examples/conformance: cookies of negotiate, the client's own header, and a web worker.
//
//   BASE=http://127.0.0.1:5000 node conformance.js
//
// The server has no pages: they come from another port here, which is another origin of the same site, and the server takes
// every origin. CHROMIUM names the browser. Last line: "N passed, N failed"; exit code 1 on failure.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const { BASE } = process.env;
const TRANSPORTS = ["WebSockets", "ServerSentEvents", "LongPolling"];
const find = createRequire(fileURLToPath(new URL("../js/client.js", import.meta.url)));
const built = (name, file) => readFile(find.resolve(`${name}/package.json`).replace("package.json", `dist/browser/${file}.js`));

// Runs in a worker too, where there is no `document`.
const talk = `
async function talk({ url, transport, protocol, asks }) {
  const builder = new signalR.HubConnectionBuilder().withUrl(url, { transport: signalR.HttpTransportType[transport] }).configureLogging(signalR.LogLevel.None);
  if (protocol === "messagepack") builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
  const connection = builder.build();
  const heard = new Promise((done) => connection.on("Message", done));
  await connection.start();
  const answers = [];
  for (const [method, argument] of asks) answers.push(await connection.invoke(method, argument));
  await connection.invoke("InvokeWithString", "é");
  const message = await Promise.race([heard, new Promise((done) => setTimeout(done, 30_000, "nothing within 30 s"))]);
  await connection.stop();
  return { answers, message };
}`;
const worker = `
importScripts("/signalr.js", "/msgpack.js", "/talk.js");
onmessage = ({ data }) => talk(data).then(postMessage, (error) => postMessage({ error: String(error) }));`;
const files = {
  "/": `<!doctype html><title>A page</title><script src="/signalr.js"></script><script src="/msgpack.js"></script><script src="/talk.js"></script>`,
  "/signalr.js": await built("signalr10", "signalr"),
  "/msgpack.js": await built("messagepack10", "signalr-protocol-msgpack"),
  "/talk.js": talk,
  "/worker.js": worker,
};

const site = createServer((request, response) => {
  const body = files[request.url];
  response.writeHead(body ? 200 : 404, { "content-type": `text/${request.url.endsWith(".js") ? "javascript" : "html"}; charset=utf-8` }).end(body);
});
await new Promise((done) => site.listen(0, "127.0.0.1", done));
const PAGE = `http://127.0.0.1:${site.address().port}/`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
let passed = 0, failed = 0;

async function test(title, body) {
  const context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  try {
    const page = await context.newPage();
    await page.goto(PAGE);
    await body(page);
    passed++;
    console.log(`ok      ${title}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${title}\n        ${String(error.stack ?? error).replaceAll("\n", "\n        ")}`);
  } finally {
    await context.close();
  }
}

const inPage = (page, options) => page.evaluate((options) => talk(options), { url: `${BASE}/testhub`, protocol: "json", ...options });
const inWorker = (page, options) => page.evaluate(async (options) => {
  const worker = new Worker("/worker.js");
  const answer = new Promise((done, fail) => {
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = (event) => fail(new Error(event.message));
    setTimeout(fail, 60_000, new Error("the worker says nothing"));
  });
  worker.postMessage(options);
  return await answer.finally(() => worker.terminate());
}, { url: `${BASE}/testhub`, protocol: "json", ...options });

const COOKIES = ["testCookie", "testCookie2", "expiredCookie"].map((name) => ["GetCookie", name]);

try {
  for (const transport of TRANSPORTS) {
    await test(`cookies of negotiate come back, the expired one does not, ${transport}`, async (page) => {
      const { answers, message } = await inPage(page, { transport, asks: COOKIES });
      assert.deepEqual(answers, ["testValue", "testValue2", null]);
      assert.equal(message, "é");
    });
  }
  await test("X-SignalR-User-Agent is the client's, User-Agent the browser's", async (page) => {
    const asks = [["GetHeader", "X-SignalR-User-Agent"], ["GetHeader", "User-Agent"]];
    const { answers } = await inPage(page, { transport: "LongPolling", asks });
    assert.match(answers[0], /^Microsoft SignalR\/10\.0 \(10\.0\.\d+; .*Browser/);
    assert.match(answers[1], /Chrom/);
  });
  for (const transport of TRANSPORTS) {
    for (const protocol of transport === "ServerSentEvents" ? ["json"] : ["json", "messagepack"]) {
      await test(`a web worker is answered and hears a message, ${transport}, ${protocol}`, async (page) => {
        const answer = await inWorker(page, { transport, protocol, asks: [["Echo", "ü"], ["GetCookie", "testCookie"]] });
        assert.deepEqual(answer, { answers: ["ü", "testValue"], message: "é" });
      });
    }
  }
} finally {
  await browser.close();
  site.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
