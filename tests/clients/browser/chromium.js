// The helpers that the scripts of this folder share: the browser, the official client's files, a server for pages, and
// counted tests.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const TRANSPORTS = ["WebSockets", "ServerSentEvents", "LongPolling"];
/** The hub protocols that a transport can carry. */
export const protocols = (transport) => (transport === "ServerSentEvents" ? ["json"] : ["json", "messagepack"]);

const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const find = createRequire(fileURLToPath(new URL("../js/client.js", import.meta.url)));
const built = (name, file) => readFile(find.resolve(`${name}/package.json`).replace("package.json", `dist/browser/${file}.js`), "utf8");

/** The scripts of the official client and of its MessagePack protocol. */
export const CLIENT = await Promise.all([built("signalr10", "signalr"), built("messagepack10", "signalr-protocol-msgpack")]);
/** The text of a script in ../js. */
export const beside = (file) => readFile(find.resolve(`./${file}`), "utf8");

/** Starts the browser that CHROMIUM names (/usr/bin/chromium), with these additional arguments. */
export function launch(...more) {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: [...ARGS, ...more] });
}

/** Serves a page at "/" that loads the official client and `scripts`, which are texts by their paths. Returns a node:http server. */
export async function site(scripts = {}, port = 0) {
  const loaded = { "/signalr.js": CLIENT[0], "/msgpack.js": CLIENT[1], ...scripts };
  const page = Object.keys(loaded).map((path) => `<script src="${path}"></script>`).join("");
  const files = { "/": `<!doctype html><title>A page of another origin</title>${page}`, ...loaded };
  const server = createServer((request, response) => {
    const body = files[request.url];
    const type = request.url.endsWith(".js") ? "javascript" : "html";
    response.writeHead(body ? 200 : 404, { "content-type": `text/${type}; charset=utf-8` }).end(body);
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return server;
}

/**
 * Tests that run one after the other, each in a browser context of its own, which is made with `options`. Nothing on a page
 * may take longer than `timeout` milliseconds. ONLY=TEXT runs the tests with this text in their title. `end` prints
 * "N passed, N failed" and exits, with 1 if a test failed or none ran.
 */
export function counted(browser, { timeout = 60_000, ...options } = {}) {
  let passed = 0, failed = 0;
  const fail = (title, error) => {
    failed++;
    console.log(`FAILED  ${title}\n        ${String(error.stack ?? error).replaceAll("\n", "\n        ")}`);
  };
  async function test(title, body) {
    if (process.env.ONLY && !title.includes(process.env.ONLY)) return;
    const context = await browser.newContext(options);
    context.setDefaultTimeout(timeout);
    try {
      await body(context);
      passed++;
      console.log(`ok      ${title}`);
    } catch (error) {
      fail(title, error);
    } finally {
      await context.close();
    }
  }
  function end() {
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed || !passed ? 1 : 0);
  }
  return { test, fail, end };
}
