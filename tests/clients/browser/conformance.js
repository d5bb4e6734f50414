// The official client in Chromium against examples/conformance: cookies of negotiate, the client's own header, and web workers.
//
//   BASE=http://127.0.0.1:5000 node conformance.js
//
// The server has no pages: they come from another port, which is another origin of the same site, and the server allows
// every origin. CHROMIUM names the browser. The last line is "N passed, N failed"; the exit code is 1 on failure.
import assert from "node:assert/strict";
import { TRANSPORTS, counted, launch, protocols, site } from "./chromium.js";

const { BASE } = process.env;

// It also runs in a worker, where there is no `document`.
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
const pages = await site({ "/talk.js": talk, "/worker.js": worker });
const PAGE = `http://127.0.0.1:${pages.address().port}/`;
const browser = await launch();
const { test: run, end } = counted(browser);

const test = (title, body) => run(title, async (context) => {
  const page = await context.newPage();
  await page.goto(PAGE);
  await body(page);
});

const inPage = (page, options) => page.evaluate((options) => talk(options), { url: `${BASE}/testhub`, protocol: "json", ...options });
const inWorker = (page, options) => page.evaluate(async (options) => {
  const worker = new Worker("/worker.js");
  const answer = new Promise((done, fail) => {
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = (event) => fail(new Error(event.message));
    setTimeout(fail, 60_000, new Error("the worker does not answer"));
  });
  worker.postMessage(options);
  return await answer.finally(() => worker.terminate());
}, { url: `${BASE}/testhub`, protocol: "json", ...options });

const COOKIES = ["testCookie", "testCookie2", "expiredCookie"].map((name) => ["GetCookie", name]);

try {
  for (const transport of TRANSPORTS) {
    await test(`cookies set by negotiate are sent with later requests, except the expired one, ${transport}`, async (page) => {
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
  await test("a web worker loads the client from the server", async (page) => {
    const answer = await page.evaluate(async (base) => {
      const source = `importScripts("${base}/lib/signalr-webworker/signalr.js");
        const connection = new signalR.HubConnectionBuilder().withUrl("${base}/testhub").configureLogging(signalR.LogLevel.None).build();
        connection.start().then(() => connection.invoke("Echo", "ü")).then(postMessage, (error) => postMessage(String(error)));`;
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      return await new Promise((done, fail) => {
        worker.onmessage = ({ data }) => done(data);
        worker.onerror = (event) => fail(new Error(event.message));
        setTimeout(fail, 60_000, new Error("the worker does not answer"));
      }).finally(() => worker.terminate());
    }, BASE);
    assert.equal(answer, "ü");
  });
  for (const transport of TRANSPORTS) {
    for (const protocol of protocols(transport)) {
      await test(`a web worker gets answers and a message, ${transport}, ${protocol}`, async (page) => {
        const answer = await inWorker(page, { transport, protocol, asks: [["Echo", "ü"], ["GetCookie", "testCookie"]] });
        assert.deepEqual(answer, { answers: ["ü", "testValue"], message: "é" });
      });
    }
  }
} finally {
  await browser.close();
  pages.close();
}
end();
