// Pages of other origins, in Chromium, with the official client: only those that `cors_origins` allows can connect.
//
//   PAGE_PORT=3000 LISTED=http://127.0.0.1:8080 ANY=http://127.0.0.1:8081 SUBDOMAINS=http://127.0.0.1:8082 NONE=http://127.0.0.1:8083 node cors.js
//
// cors_origins of the four servers: `http://localhost:PAGE_PORT` (LISTED), `*` (ANY), `http://*.localhost:PAGE_PORT`
// (SUBDOMAINS), not set (NONE). The pages come from PAGE_PORT and from another port; Chromium resolves every name below
// `localhost` to the loopback address. CHROMIUM names the browser. The last line is "N passed, N failed"; the exit code is 1
// on failure.
import assert from "node:assert/strict";
import { TRANSPORTS, counted, launch, protocols, site } from "./chromium.js";

const { LISTED, ANY, SUBDOMAINS, NONE } = process.env;
const PORT = Number(process.env.PAGE_PORT);

// Runs on the page: connects, calls a method, receives its own broadcast, stops. Returns what went wrong, or null.
const talk = async ({ url, transport, protocol, withCredentials, token, skipNegotiation }) => {
  const options = { transport: signalR.HttpTransportType[transport], skipNegotiation };
  if (withCredentials !== undefined) options.withCredentials = withCredentials;
  if (token) options.accessTokenFactory = () => token;
  const builder = new signalR.HubConnectionBuilder().withUrl(url, options).configureLogging(signalR.LogLevel.None);
  if (protocol === "messagepack") builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
  const connection = builder.build();
  const heard = new Promise((done) => connection.on("ReceiveMessage", (user, text) => user === url && done(text)));
  try {
    await connection.start();
  } catch (error) {
    return error.message;
  }
  const echo = await connection.invoke("Echo", "é");
  await connection.invoke("SendMessage", url, "all");
  const text = await Promise.race([heard, new Promise((done) => setTimeout(done, 30_000, "nothing within 30 s"))]);
  await connection.stop();
  return echo === "é" && text === "all" ? null : `echo ${echo}, received ${text}`;
};

const sites = [await site({}, PORT), await site()];
const otherPort = sites[1].address().port;
const browser = await launch();
const { test: run, end } = counted(browser);

const test = (title, body) => run(title, async (context) => {
  const requests = [];
  context.on("request", (request) => requests.push(request));
  await body({ context, requests });
});

async function from(context, origin, options) {
  const page = await context.newPage();
  await page.goto(`${origin}/`);
  return await page.evaluate(talk, { transport: "WebSockets", protocol: "json", ...options, url: `${options.server}/chat` });
}

const NEGOTIATE = /^Failed to complete negotiation with the server: TypeError: Failed to fetch/;
const listed = `http://localhost:${PORT}`;

try {
  for (const transport of TRANSPORTS) {
    for (const protocol of protocols(transport)) {
      await test(`a listed origin, with credentials, ${transport}, ${protocol}`, async ({ context }) => {
        assert.equal(await from(context, listed, { server: LISTED, transport, protocol }), null);
      });
    }
    await test(`a listed origin, with a token, ${transport}`, async ({ context }) => {
      // The token is in the Authorization header of requests, which the preflight must allow, and in the query of the others.
      assert.equal(await from(context, listed, { server: LISTED, transport, protocol: "json", token: "a.b.c" }), null);
    });
    await test(`any origin, without credentials, ${transport}`, async ({ context }) => {
      assert.equal(await from(context, listed, { server: ANY, transport, withCredentials: false }), null);
    });
    await test(`any origin, with credentials, ${transport}: fails at negotiate`, async ({ context }) => {
      assert.match(await from(context, listed, { server: ANY, transport }), NEGOTIATE);
    });
    await test(`a foreign origin, ${transport}: fails at negotiate, and requests nothing else`, async ({ context, requests }) => {
      assert.match(await from(context, `http://127.0.0.1:${PORT}`, { server: LISTED, transport }), NEGOTIATE);
      const paths = requests.filter((request) => request.url().startsWith(LISTED)).map((request) => new URL(request.url()).pathname);
      assert.deepEqual([...new Set(paths)], ["/chat/negotiate"]);
    });
  }

  await test("a foreign origin, without credentials: fails at negotiate", async ({ context }) => {
    assert.match(await from(context, `http://127.0.0.1:${PORT}`, { server: LISTED, withCredentials: false }), NEGOTIATE);
  });
  await test("a listed host on another port is another origin", async ({ context }) => {
    assert.match(await from(context, `http://localhost:${otherPort}`, { server: LISTED }), NEGOTIATE);
  });
  await test("a server without cors_origins: fails at negotiate, with credentials and without", async ({ context }) => {
    assert.match(await from(context, listed, { server: NONE }), NEGOTIATE);
    assert.match(await from(context, listed, { server: NONE, withCredentials: false }), NEGOTIATE);
  });

  await test("subdomains: every one, however deep", async ({ context }) => {
    for (const transport of TRANSPORTS) {
      assert.equal(await from(context, `http://app.localhost:${PORT}`, { server: SUBDOMAINS, transport }), null);
    }
    assert.equal(await from(context, `http://deep.app.localhost:${PORT}`, { server: SUBDOMAINS }), null);
  });
  await test("subdomains: not the domain itself, no other port, no other name", async ({ context }) => {
    for (const origin of [`http://localhost:${PORT}`, `http://app.localhost:${otherPort}`, `http://127.0.0.1:${PORT}`]) {
      assert.match(await from(context, origin, { server: SUBDOMAINS }), NEGOTIATE, origin);
    }
  });

  await test("a WebSocket without negotiate: a listed page can open one, a foreign page cannot, and every page can if nothing is listed", async ({ context }) => {
    const open = (origin, server) => from(context, origin, { server, skipNegotiation: true });
    const foreign = `http://127.0.0.1:${PORT}`;
    assert.equal(await open(listed, LISTED), null);
    assert.equal(await open(`http://app.localhost:${PORT}`, SUBDOMAINS), null);
    for (const server of [LISTED, SUBDOMAINS]) assert.match(await open(foreign, server), /WebSocket failed to connect/);
    for (const server of [ANY, NONE]) assert.equal(await open(foreign, server), null);
  });

  await test("a balancer's cookie is sent with every request of a listed origin, and with none without credentials", async ({ context, requests }) => {
    const server = SUBDOMAINS.replace("127.0.0.1", "api.site.localhost"); // of the same site as the page: browsers do not send cookies to other sites
    await context.addCookies([{ name: "node", value: "a", domain: "api.site.localhost", path: "/" }]);
    for (const [transport, withCredentials, cookie] of [["LongPolling", true, "node=a"], ["ServerSentEvents", true, "node=a"], ["LongPolling", false, undefined]]) {
      requests.length = 0;
      assert.equal(await from(context, `http://app.site.localhost:${PORT}`, { server, transport, withCredentials }), null);
      const ours = requests.filter((request) => request.url().startsWith(server) && request.method() !== "OPTIONS" && !request.failure());
      const cookies = await Promise.all(ours.map(async (request) => (await request.response()) && (await request.allHeaders()).cookie));
      assert.ok(cookies.length >= 4, `${cookies.length} requests`);
      assert.deepEqual([...new Set(cookies)], [cookie], `${transport}: ${ours.map((request) => `${request.method()} ${request.url()}`)}`);
    }
  });
} finally {
  await browser.close();
  for (const server of sites) server.close();
}
end();
