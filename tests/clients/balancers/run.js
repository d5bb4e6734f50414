// The shipped config/haproxy.cfg and config/nginx.conf in front of two servers, with the official client; and minimal
// configurations of nginx, with its default buffering and time-out.
//
//   BASE_A=http://127.0.0.1:8080 BASE_B=http://127.0.0.1:8081 node run.js
//
// Arguments choose suites: haproxy, nginx, plain, bare. The servers are two replicas with the built-in hub at /chat.
// KEEP_ALIVE and POLL_TIMEOUT are their keep_alive_interval and long_polling_poll_timeout in seconds (15 and 90). The time-out
// of the plain nginx is four times KEEP_ALIVE, so servers that ping every second make those tests quick; if it is over 20 s,
// they run only with SLOW=1.
// With HUBPLANE_BIN in place of BASE_A, two such replicas of that binary and a Redis are started first.
// The last line is "N passed, N failed, N skipped"; the exit code is 1 on failure. If a proxy is not installed, its tests are
// skipped, and a line says so; with HUBPLANE_TESTS_REQUIRE_ALL that is a failure.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { HttpTransportType, HubConnectionBuilder, LogLevel } from "@microsoft/signalr";
import { clock, soon } from "./clock.js";
import { gate } from "./gate.js";
import { haproxy, have, nginx } from "./proxies.js";
import { QUICK, replicas } from "./servers.js";

const own = !process.env.BASE_A && process.env.HUBPLANE_BIN ? await replicas(process.env.HUBPLANE_BIN) : null;
const BASE_A = process.env.BASE_A ?? own?.bases[0] ?? "http://127.0.0.1:8080";
const BASE_B = process.env.BASE_B ?? own?.bases[1] ?? BASE_A;
const KEEP_ALIVE = own ? QUICK.keepAlive : Number(process.env.KEEP_ALIVE ?? 15);
const POLL_TIMEOUT = own ? QUICK.pollTimeout : Number(process.env.POLL_TIMEOUT ?? 90);
const TRANSPORTS = ["WebSockets", "ServerSentEvents", "LongPolling"];
const CONNECTS = 20;
const TIMEOUT = 60_000;

let passed = 0, failed = 0, skipped = 0;

async function test(title, body) {
  const open = [];
  const client = async (url, transport, options = {}) => {
    const builder = new HubConnectionBuilder()
      .withUrl(`${url}/chat`, transport === "automatic" ? {} : { transport: HttpTransportType[transport] })
      .configureLogging(LogLevel.None);
    if (options.reconnect) builder.withAutomaticReconnect(options.reconnect);
    const connection = builder.build();
    for (const event of ["UserConnected", "UserDisconnected", "Notice"]) connection.on(event, () => {});
    open.push(connection);
    await connection.start();
    return connection;
  };
  try {
    await body(client);
    passed++;
    console.log(`ok      ${title}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${title}\n        ${String(error.stack ?? error).replaceAll("\n", "\n        ")}`);
  } finally {
    await Promise.all(open.map((connection) => connection.stop().catch(() => {})));
  }
}

function skip(title, why) {
  skipped++;
  console.log(`skipped ${title}: ${why}`);
}

function missing(title) {
  if (!process.env.HUBPLANE_TESTS_REQUIRE_ALL) return skip(title, "it is not installed");
  failed++;
  console.log(`FAILED  ${title}: it is not installed`);
}

// Waits until the condition is true: a balancer's own checks notice a change after a second or two.
async function until(what, condition, timeout = TIMEOUT) {
  const end = Date.now() + timeout;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${timeout / 1000} s: ${what}`);
    await sleep(50);
  }
}

async function negotiate(url, headers = {}) {
  const answer = await fetch(`${url}/chat/negotiate?negotiateVersion=1`, { method: "POST", headers });
  assert.equal(answer.status, 200, `negotiate: ${answer.status} ${await answer.clone().text()}`);
  return { id: (await answer.json()).connectionToken, cookie: answer.headers.getSetCookie()[0]?.split(";")[0] };
}

const end = (url, id, headers) => fetch(`${url}/chat?id=${id}`, { method: "DELETE", headers });

// Counts the requests that reach the wrong replica, but only those of connections that are negotiated from now on: clients of
// earlier tests may send their last request late, after the gates have forgotten them.
function watchStrangers(gates) {
  const since = gates.map(({ negotiated }) => negotiated.size);
  return () => {
    const ids = new Set(gates.flatMap(({ negotiated }, i) => [...negotiated.keys()].slice(since[i])));
    return gates.flatMap(({ strangers }) => strangers).filter((id) => ids.has(id)).length;
  };
}

// The tests of both balancers. `gates` are the proxies between the balancer and the servers.
async function common(name, url, gates) {
  const upgrades = () => gates.flatMap(({ requests }) => requests).filter(({ upgrade }) => upgrade === "websocket").length;

  for (const transport of TRANSPORTS) {
    await test(`${name}: ${CONNECTS} connects reach the replica that negotiated, ${transport}`, async (client) => {
      const [strangers, upgraded] = [watchStrangers(gates), upgrades()];
      for (let i = 0; i < CONNECTS; i++) {
        const connection = await client(url, transport);
        assert.equal(await connection.invoke("Echo", i), i);
      }
      assert.equal(strangers(), 0, "requests that came to the wrong replica");
      assert.equal(upgrades() - upgraded, transport === "WebSockets" ? CONNECTS : 0);
    });
  }

  await test(`${name}: events arrive at once, on every transport`, async (client) => {
    const room = `at-once-${process.pid}`;
    const sender = await client(url, "WebSockets");
    for (const transport of TRANSPORTS) {
      const listener = await client(url, transport);
      await listener.invoke("JoinRoom", `${room}-${transport}`);
      for (let i = 0; i < 3; i++) {
        const heard = new Promise((resolve) => listener.on("ReceiveMessage", resolve));
        const from = clock();
        await sender.invoke("SendToRoom", `${room}-${transport}`, "now");
        await soon(transport, heard, 2000);
        const took = clock() - from;
        assert.ok(took < 1000, `${transport}: late by ${took} ms`);
        listener.off("ReceiveMessage");
      }
    }
  });

  await test(`${name}: the client's address is passed on`, async () => {
    const { id } = await negotiate(url, { "x-forwarded-for": "192.0.2.7" });
    const forwarded = gates.map(({ negotiated }) => negotiated.get(id)?.forwarded).find(Boolean);
    assert.equal(forwarded, "192.0.2.7, 127.0.0.1");
  });
}

// Runs when a replica has stopped, so that errors are logged too.
const quiet = (name, balancer) => test(`${name}: no token and no connection token is logged`, async () => {
  await fetch(`${balancer.url}/chat?id=a-secret&access_token=a-secret`);
  await fetch(`${balancer.url}/seen?access_token=a-secret`);
  await until("the request is logged", () => balancer.said().includes("GET /seen"));
  assert.ok(!balancer.said().includes("a-secret"), balancer.said());
});

async function testHaproxy() {
  if (!have("haproxy")) return missing("haproxy");
  const gates = [await gate(BASE_A), await gate(BASE_B)];
  const [a, b] = gates;
  const balancer = await haproxy(gates.map(({ port }) => port));
  const { url } = balancer;
  await common("haproxy", url, gates);

  await test("haproxy: clients without cookies stay at their replica, and both replicas get some", async () => {
    const [before, strangers] = [[a.negotiated.size, b.negotiated.size], watchStrangers(gates)];
    for (let i = 0; i < CONNECTS; i++) {
      const { id } = await negotiate(url);
      assert.equal((await fetch(`${url}/chat?id=${id}`)).status, 200);
      await end(url, id);
    }
    assert.equal(strangers(), 0, "requests that came to the wrong replica");
    assert.ok(a.negotiated.size > before[0] && b.negotiated.size > before[1], "one replica got nothing");
  });

  await test("haproxy: the cookie leads to the same replica after the stick table is lost", async () => {
    const { id, cookie } = await negotiate(url);
    const again = await haproxy(gates.map(({ port }) => port));
    try {
      assert.equal((await fetch(`${again.url}/chat?id=${id}`, { headers: { cookie } })).status, 200);
      await end(again.url, id, { cookie });
    } finally {
      await again.stop();
    }
  });

  await test("haproxy: a replica that is not ready keeps its clients and gets no new ones", async (client) => {
    const old = [];
    for (const transport of TRANSPORTS) {
      let connection;
      await until(`a ${transport} connection on the first replica`, async () => {
        const before = a.negotiated.size;
        connection = await client(url, transport);
        return a.negotiated.size > before;
      });
      old.push(connection);
    }
    a.ready = false;
    let streak = 0;
    await until("new clients go to the other replica", async () => {
      const before = b.negotiated.size;
      await end(url, (await negotiate(url)).id);
      streak = b.negotiated.size > before ? streak + 1 : 0;
      return streak >= 6;
    });
    for (const connection of old) assert.equal(await connection.invoke("Echo", "still here"), "still here");
    a.ready = true;
  });

  await test("haproxy: if no replica is ready, all that are alive are used", async (client) => {
    a.ready = b.ready = false;
    await until("HAProxy sees that the replicas are not ready", () => /Server ready\/replica2 is DOWN/.test(balancer.said()));
    for (const transport of TRANSPORTS) {
      const connection = await client(url, transport);
      assert.equal(await connection.invoke("Echo", transport), transport);
    }
    a.ready = b.ready = true;
    await until("HAProxy sees that they are ready again", () => /Server ready\/replica2 is UP/.test(balancer.said()));
  });

  await test("haproxy: the clients of a replica that crashes go to the other", async (client) => {
    const connections = [];
    for (let i = 0; i < 6; i++) connections.push(await client(url, TRANSPORTS[i % 3], { reconnect: [0, 200, 500, 1000, 2000] }));
    a.close();
    for (const connection of connections) {
      await until("every client is served again", () => connection.invoke("Echo", 1).then((one) => one === 1, () => false));
    }
  });

  await quiet("haproxy", balancer);
  await balancer.stop();
  for (const { close } of gates) close();
}

async function testNginx() {
  if (!have("nginx")) return missing("nginx");
  const gates = [await gate(BASE_A), await gate(BASE_B)];
  const [a, b] = gates;
  const balancer = await nginx(gates.map(({ port }) => port));
  const { url } = balancer;
  const browser = { "sec-fetch-site": "same-origin" };
  await common("nginx", url, gates);

  await test("nginx: browsers get a cookie and stay at their replica, and both replicas get some", async () => {
    const [before, strangers] = [[a.negotiated.size, b.negotiated.size], watchStrangers(gates)];
    for (let i = 0; i < CONNECTS; i++) {
      const { id, cookie } = await negotiate(url, browser);
      assert.match(cookie, /^hubplane=[0-9a-f]{32}$/);
      assert.equal((await fetch(`${url}/chat?id=${id}`, { headers: { ...browser, cookie } })).status, 200);
      await end(url, id, { ...browser, cookie });
      assert.equal((await negotiate(url, { ...browser, cookie })).cookie, undefined, "a second cookie");
    }
    assert.equal(strangers(), 0, "requests that came to the wrong replica");
    assert.ok(a.negotiated.size > before[0] && b.negotiated.size > before[1], "one replica got nothing");
  });

  await test("nginx: requests that reach the wrong replica are passed on, GET, POST and DELETE", async () => {
    const strangers = watchStrangers(gates);
    for (let i = 0; i < CONNECTS; i++) {
      const { id } = await negotiate(url, browser); // without its cookie in the later requests
      assert.equal((await fetch(`${url}/chat?id=${id}`, { headers: browser })).status, 200);
      const body = '{"protocol":"json","version":1}\x1e';
      assert.equal((await fetch(`${url}/chat?id=${id}`, { method: "POST", headers: browser, body })).status, 200);
      assert.equal((await end(url, id, browser)).status, 202);
    }
    assert.ok(strangers() > 0, "no request reached the wrong replica: this test has tested nothing");
    const nobody = await fetch(`${url}/chat?id=nobody`);
    assert.deepEqual([nobody.status, await nobody.text()], [404, "No Connection with that ID"]);
  });

  await test("nginx: negotiate goes to the other replica if one refuses it", async (client) => {
    for (const refusing of gates) {
      refusing.refuse = true;
      for (const transport of TRANSPORTS) {
        const connection = await client(url, transport);
        assert.equal(await connection.invoke("Echo", transport), transport);
      }
      refusing.refuse = false;
    }
  });

  await test("nginx: the clients of a replica that crashes go to the other", async (client) => {
    const mine = a.negotiated.size > b.negotiated.size ? a : b; // all clients here have one address
    const connections = [];
    for (const transport of TRANSPORTS) connections.push(await client(url, transport, { reconnect: [0, 200, 500, 1000, 2000] }));
    mine.close();
    for (const connection of connections) {
      await until("every client is served again", () => connection.invoke("Echo", 1).then((one) => one === 1, () => false));
    }
  });

  await quiet("nginx", balancer);
  await balancer.stop();
  for (const { close } of gates) close();
}

// An nginx.conf as people write it before they read a manual: default buffering, default time-outs (scaled, see above).
const plain = (cut) => `
events { }
http {
    map $http_upgrade $connection_upgrade { "" close; default upgrade; }
    upstream hubplane { server replica1:8080; }
    server {
        listen 8080;
        location / {
            proxy_pass http://hubplane;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            ${cut === 60 ? "# proxy_read_timeout: the default, 60 s" : `proxy_read_timeout ${cut}s;`}
        }
    }
}
`;

async function testPlainNginx() {
  if (!have("nginx")) return missing("plain nginx");
  const cut = KEEP_ALIVE * 4;
  const idle = cut * 1000 * 1.3;
  const balancer = await nginx([new URL(BASE_A).port], plain(cut));
  const { url } = balancer;

  for (const transport of TRANSPORTS) {
    await test(`plain nginx: events arrive at once, ${transport}`, async (client) => {
      const room = `plain-${process.pid}-${transport}`;
      const [sender, listener] = [await client(BASE_A, "WebSockets"), await client(url, transport)];
      await listener.invoke("JoinRoom", room);
      const heard = new Promise((resolve) => listener.on("ReceiveMessage", resolve));
      await sender.invoke("SendToRoom", room, "now");
      await soon(transport, heard, 2000);
    });
  }

  const slow = cut > 20 && process.env.SLOW !== "1";
  for (const transport of TRANSPORTS) {
    const cutOff = transport === "LongPolling" && POLL_TIMEOUT >= cut;
    const title = `plain nginx, idle for longer than its time-out of ${cut} s, ${transport}: ${cutOff ? "a poll of " + POLL_TIMEOUT + " s is cut off, and the client reconnects" : "the connection stays open"}`;
    if (slow) {
      skip(title, "SLOW=1 runs it");
      continue;
    }
    await test(title, async (client) => {
      const connection = await client(url, transport, { reconnect: [0, 1000, 2000] });
      const id = connection.connectionId;
      const reasons = [];
      connection.onreconnecting((error) => reasons.push(String(error)));
      await sleep(idle); // the time-out passes: this time is what is tested
      // A client that connects or disconnects in the meantime ends the poll, and the time of the next one starts anew.
      if (cutOff) await until("a poll is cut", () => /504/.test(reasons.join()), cut * 4000);
      await until("the connection answers", () => connection.invoke("Echo", 1).then((one) => one === 1, () => false));
      if (!cutOff) assert.deepEqual([connection.connectionId, reasons], [id, []], "it was cut");
    });
  }
  await balancer.stop();
}

// Only proxy_pass: HTTP/1.0 to the server, so no WebSockets and no chunked answers, and all answers are buffered unless the
// server asks otherwise.
const BARE = `
events { }
http { server { listen 8080; location / { proxy_pass http://replica1:8080; } } }
`;

async function testBareNginx() {
  if (!have("nginx")) return missing("bare nginx");
  const kestrel = (await fetch(BASE_A).catch(() => null))?.headers.get("server") === "Kestrel";
  const balancer = await nginx([new URL(BASE_A).port], BARE);
  for (const transport of ["ServerSentEvents", "LongPolling", "automatic"]) {
    const title = `bare nginx, without upgrades and with buffers: ${transport}`;
    if (kestrel && transport !== "LongPolling") {
      skip(title, "ASP.NET Core does not send X-Accel-Buffering: no");
      continue;
    }
    await test(title, async (client) => {
      const connection = await client(balancer.url, transport);
      const from = clock();
      assert.equal(await connection.invoke("Echo", "there and back"), "there and back");
      assert.ok(clock() - from < 2000, "late");
    });
  }
  await balancer.stop();
}

const SUITES = { haproxy: testHaproxy, nginx: testNginx, plain: testPlainNginx, bare: testBareNginx };
const chosen = process.argv.slice(2);
for (const [name, suite] of Object.entries(SUITES)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  try {
    await suite();
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}: ${error.stack}`);
  }
}
await own?.stop();
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed || !passed ? 1 : 0);
