// The official JavaScript client in headless Chromium, driven with JSON lines on standard input and output, as
// ../js/client.js is in node. Each connection is made on an empty page of its server's origin, or of the origin that `page`
// in the connect command names. CHROMIUM names the browser (/usr/bin/chromium).
import { createInterface } from "node:readline";
import { CLIENT, beside, launch } from "./chromium.js";

const PATH = "/page-of-the-test";
const START = `
  const execute = signalRDriver({
    signalR, MessagePackHubProtocol: signalR.protocols.msgpack.MessagePackHubProtocol, say: (value) => saying(JSON.stringify(value)),
  });
  globalThis.run = async (command) => {
    try {
      return { id: command.id, ...await execute(command) };
    } catch (error) {
      return { id: command.id, error: String(error?.message ?? error), type: error?.name };
    }
  };`;

// The pages come from a route, not from the network; Chromium would not let them connect to the loopback address.
const browser = await launch("--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,LocalNetworkAccessChecksWebRTC");
const context = await browser.newContext();
const text = [...CLIENT, await beside("driver.js"), START].join("\n;\n");
const say = (line) => process.stdout.write(`${line}\n`);
const pages = new Map(), homes = new Map();

await context.exposeFunction("saying", say);
await context.route((url) => url.pathname === PATH, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));

async function open(origin) {
  const page = await context.newPage();
  await page.goto(origin + PATH);
  await page.addScriptTag({ content: text });
  return page;
}

async function execute(command) {
  if (command.op === "connect") {
    const origin = command.page ?? new URL(command.url).origin;
    if (!pages.has(origin)) pages.set(origin, open(origin));
    homes.set(command.on, pages.get(origin));
  }
  return await (await homes.get(command.on)).evaluate((command) => run(command), command);
}

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    if (!line) return;
    const command = JSON.parse(line);
    try {
      say(JSON.stringify(await execute(command)));
    } catch (error) {
      say(JSON.stringify({ id: command.id, error: String(error.message), type: error.name }));
    }
  })
  .on("close", async () => {
    await browser.close();
    process.exit(0);
  });
