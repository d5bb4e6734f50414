// Two browser tabs on two servers chat: through the demo page, through examples/web, and one with the other.
//
//   BASE_A=http://127.0.0.1:8080 BASE_B=http://127.0.0.1:8081 node run.js
//
// The two may be the same server, or two replicas on one Redis. `--stand-in` is for servers that do not have the demo page
// at "/": a proxy in front of each serves the page's files from this repository. The pages of examples/web come from
// EXAMPLE_PORT (3000): the servers' cors_origins must allow http://127.0.0.1:EXAMPLE_PORT. CHROMIUM names the browser
// (/usr/bin/chromium). ONLY=TEXT runs the tests with this text in their title. `--pictures` also renews docs/demo.png and
// docs/demo-dark.png. The last line is "N passed, N failed"; the exit code is 1 on failure.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { TRANSPORTS, counted, launch, protocols } from "./chromium.js";
import { standIn } from "./stand-in.js";

const BASE_A = process.env.BASE_A ?? "http://127.0.0.1:8080";
const BASE_B = process.env.BASE_B ?? BASE_A;
const EXAMPLE_PORT = process.env.EXAMPLE_PORT ?? "3000";
const EXAMPLE = `http://127.0.0.1:${EXAMPLE_PORT}`;
const PICTURES = process.argv.includes("--pictures"), STAND_IN = process.argv.includes("--stand-in");
// What Chromium logs about requests and sockets that are cut or refused.
const CUT = /^(Failed to load resource: net::ERR_|WebSocket connection to '[^']*' failed)/;
const TIMEOUT = 30_000;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PHONE = { width: 390, height: 844 }, DESKTOP = { width: 1280, height: 800 };

let rooms = 0;
const cleanUp = [];

const test = (title, body) => run(title, async (context) => {
  const complaints = [];
  context.on("weberror", (error) => complaints.push(error.error().message));
  context.on("console", (line) => line.type() === "error" && complaints.push(line.text()));
  // A test that cuts connections sets `expected` to what the browser may log then.
  const self = { context, room: `room-${process.pid}-${++rooms}`, expected: null };
  await body(self).catch((error) => {
    for (const complaint of complaints) error.stack += `\npage: ${complaint}`;
    throw error;
  });
  assert.deepEqual(complaints.filter((text) => !self.expected?.test(text)), [], "the pages logged errors");
});

// Joins the room with what is filled in. Both kinds of page have the same element ids.
async function join(page, room) {
  await page.click("#join button");
  await page.waitForSelector("#state[data-state=connected]");
  await page.waitForSelector(`#log >> text=/joined ${room}$/`);
}

// A tab that has joined the room.
async function tab(context, address, parameters) {
  const page = await context.newPage();
  await page.goto(`${address}/?${new URLSearchParams(parameters)}`);
  await join(page, parameters.room);
  return page;
}

const demo = (context, base, parameters) => tab(context, base, parameters);
const example = (context, base, parameters) => tab(context, EXAMPLE, { ...parameters, hub: `${base}/chat` });

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#composer button");
}

const hears = (page, text) => page.locator("#log li:not(.mine)", { hasText: text }).first().waitFor();
// Waits until the server has answered the call that sends a message of this tab.
const sent = (page, text) => page.locator("#log li.mine:not(.pending)", { hasText: text }).waitFor();
const count = (page, text) => page.locator("#log li", { hasText: text }).count();

async function talk(ada, grace) {
  const stamp = `${process.pid}.${performance.now()}`;
  await say(ada, `Hello Grace ${stamp}`);
  await hears(grace, `Hello Grace ${stamp}`);
  await say(grace, `Hello Ada, 你好 <i>${stamp}</i>`);
  await hears(ada, `Hello Ada, 你好 <i>${stamp}</i>`);
  assert.equal(await count(ada, `Hello Grace ${stamp}`), 1, "the sender sees its message once");
  assert.equal(await count(grace, `Hello Grace ${stamp}`), 1, "the receiver sees it once");
}

async function pageOf(base) {
  if (!STAND_IN) return base;
  const { url, close } = await standIn(base);
  cleanUp.push(close);
  return url;
}

async function startExample() {
  const child = spawn(process.execPath, [here("../../../examples/web/serve.js")], {
    env: { ...process.env, PORT: EXAMPLE_PORT, HUB_URL: `${BASE_A}/chat` },
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanUp.push(() => child.kill());
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", (code) => reject(new Error(`examples/web exited with ${code}; has npm ci been run there?`)));
  });
}

// The desktop and the phone side by side, for the README.
async function pictures() {
  await mkdir(here("../../../docs"), { recursive: true });
  for (const [scheme, ground] of [["light", "#dbe5e3"], ["dark", "#233034"]]) {
    const picture = async (device) => `data:image/png;base64,${await readFile(here(`screenshots/${device}-${scheme}.png`), "base64")}`;
    const page = await browser.newPage({ viewport: { width: 1416, height: 704 } });
    await page.setContent(`<style>
      body { margin: 0; padding: 32px; display: flex; gap: 32px; background: ${ground}; }
      img { height: 640px; border-radius: 10px; box-shadow: 0 6px 24px #0004; }
    </style><img src="${await picture("desktop")}"><img src="${await picture("phone")}">`);
    await page.screenshot({ path: here(`../../../docs/demo${scheme === "dark" ? "-dark" : ""}.png`) });
    await page.close();
  }
}

const browser = await launch();
const { test: run, fail, end } = counted(browser, { viewport: DESKTOP, timeout: TIMEOUT });
cleanUp.push(() => browser.close());

try {
  const [pageA, pageB] = [await pageOf(BASE_A), await pageOf(BASE_B)];
  await startExample();
  await mkdir(here("screenshots"), { recursive: true });

  for (const transport of TRANSPORTS) {
    await test(`demo page, two tabs, ${transport}`, async ({ context, room }) => {
      const ada = await demo(context, pageA, { name: "Ada", room, transport });
      const grace = await demo(context, pageB, { name: "Grace", room, transport });
      const shown = { WebSockets: "WebSockets", ServerSentEvents: "Server-Sent Events", LongPolling: "Long polling" };
      assert.equal(await ada.textContent("#transport"), shown[transport]);
      assert.equal(await ada.textContent("#protocol"), "json");
      await talk(ada, grace);
    });
  }

  for (const protocol of ["json", "messagepack"]) {
    for (const transport of TRANSPORTS.filter((transport) => protocols(transport).includes(protocol))) {
      await test(`examples/web, two tabs, ${transport}, ${protocol}`, async ({ context, room }) => {
        const ada = await example(context, BASE_A, { name: "Ada", room, transport, protocol });
        const grace = await example(context, BASE_B, { name: "Grace", room, transport, protocol });
        await talk(ada, grace);
      });
    }
    await test(`demo page with examples/web, ${protocol}`, async ({ context, room }) => {
      const ada = await demo(context, pageA, { name: "Ada", room });
      const grace = await example(context, BASE_B, { name: "Grace", room, protocol });
      await talk(ada, grace);
      assert.equal(await ada.locator(".message:not(.mine) .who").first().textContent(), "Grace");
    });
  }

  await test("streams both ways", async ({ context, room }) => {
    const ada = await demo(context, pageA, { name: "Ada", room });
    const grace = await demo(context, pageB, { name: "Grace", room });
    await grace.locator(".streams label").click();
    const streamed = (text) => grace.locator("#stream li", { hasText: `ReceiveMessage("${room}", "Ada: ${text}` });
    // On two servers the subscription takes a moment, and only a streamed message shows that it exists.
    for (let i = 1; (await streamed("is it there").count()) === 0; i++) {
      assert.ok(i < 100, "nothing is streamed");
      await say(ada, `is it there, ${i}`);
      await hears(grace, `is it there, ${i}`);
    }
    await ada.click("#upload");
    for (const line of ["one", "five"]) {
      await hears(grace, line);
      await streamed(line).waitFor();
    }
    for (const line of ["one", "two", "three", "four", "five"]) assert.equal(await streamed(line).count(), 1, line);
    assert.equal(await grace.locator("#stream li").count(), 5); // the page keeps only five
    await ada.waitForSelector("#upload:enabled");
    await grace.locator(".streams label").click();
    await say(ada, "unwatched");
    await hears(grace, "unwatched");
    assert.equal(await grace.locator("#stream li").count(), 0);
  });

  await test("clients that connect, join and disconnect are announced", async ({ context, room }) => {
    const ada = await demo(context, pageA, { name: "Ada", room });
    const grace = await demo(context, pageB, { name: "Grace", room });
    const id = await grace.textContent("#connection-id");
    const line = (text) => ada.locator(".event", { has: ada.locator(`code[title="Connection ${id}"]`), hasText: text });
    await line(`joined ${room}`).waitFor();
    await grace.close();
    await line("went offline").waitFor();
  });

  await test("rooms are separate, and can be changed", async ({ context, room }) => {
    const ada = await demo(context, pageA, { name: "Ada", room });
    const grace = await demo(context, pageB, { name: "Grace", room: `${room}-other` });
    await say(grace, "in the other room");
    await sent(grace, "in the other room");
    await grace.click("#change");
    await grace.fill("#room", room);
    await join(grace, room);
    await talk(ada, grace);
    assert.equal(await count(ada, "in the other room"), 0);
  });

  await test("messages of other clients, of any type, are shown as text", async ({ context, room }) => {
    const ada = await demo(context, pageA, { name: "Ada", room });
    const other = await example(context, BASE_B, { name: "Other", room });
    await other.evaluate((room) => connection.invoke("SendToRoom", room, "no name in front"), room);
    await hears(ada, "no name in front");
    await other.evaluate(() => connection.invoke("SendMessage", "Linus", "<img src=x onerror=alert(1)>"));
    await hears(ada, "<img src=x onerror=alert(1)>");
    assert.equal(await ada.locator("#log img").count(), 0);
    const senders = await ada.locator(".message .who").allTextContents();
    assert.deepEqual(senders, ["Somebody", "Linus"]);
  });

  await test("the transport can be changed on the page", async ({ context, room }) => {
    const ada = await demo(context, pageA, { name: "Ada", room });
    const grace = await demo(context, pageB, { name: "Grace", room });
    for (const [value, label] of [["LongPolling", "Long polling"], ["ServerSentEvents", "Server-Sent Events"], ["", "WebSockets"]]) {
      await ada.check(`input[name=via][value="${value}"]`);
      await ada.waitForSelector(`#transport >> text=${label}`);
      await ada.waitForSelector("#state[data-state=connected]");
      await talk(ada, grace);
    }
  });

  for (const transport of TRANSPORTS) {
    await test(`a dropped connection is restored by itself, ${transport}`, async (self) => {
      const { context, room } = self;
      self.expected = CUT;
      const proxy = await standIn(BASE_A);
      const ada = await demo(context, proxy.url, { name: "Ada", room, transport });
      const grace = await demo(context, pageB, { name: "Grace", room });
      const before = await ada.textContent("#connection-id");
      proxy.drop();
      // A browser repeats a GET by itself if a kept-alive connection breaks before the answer, so the page does not
      // notice that a poll was cut. The other transports need a new connection.
      if (transport !== "LongPolling") {
        await ada.waitForFunction((id) => !["none", id].includes(document.getElementById("connection-id").textContent), before);
        await ada.locator(`#log >> text=You joined ${room}`).nth(1).waitFor();
      }
      await talk(ada, grace);
      proxy.close();
    });
  }

  await test("the page shows that the server is unreachable, and reconnects at once on request", async (self) => {
    const { context, room } = self;
    self.expected = CUT;
    const proxy = await standIn(BASE_A);
    const ada = await demo(context, proxy.url, { name: "Ada", room });
    // All texts of the notice, since it shows the first one for two seconds only.
    await ada.evaluate(() => {
      const notice = document.getElementById("notice-text");
      globalThis.shown = "";
      new MutationObserver(() => (globalThis.shown += notice.textContent)).observe(notice, { childList: true, characterData: true, subtree: true });
    });
    proxy.close();
    await ada.waitForFunction(() => /Next try in 2.s.*Next try in 10.s/.test(globalThis.shown));
    assert.equal(await ada.textContent("#state-text"), "Reconnecting");
    const again = await standIn(BASE_A, Number(new URL(proxy.url).port));
    const from = performance.now();
    await ada.click("#retry");
    await ada.waitForSelector("#state[data-state=connected]");
    assert.ok(performance.now() - from < 8000, "it waited for the next try");
    assert.ok(await ada.isHidden("#notice"));
    again.close();
  });

  for (const [device, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ["light", "dark"]) {
      await test(`looks: ${device}, ${colorScheme}`, async ({ context: plain, room: own }) => {
        const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: device === "phone" ? 2 : 1, reducedMotion: "reduce" });
        try {
          const shot = (page, name) => page.screenshot({ path: here(`screenshots/${device}-${colorScheme}${name}.png`) });
          const ada = await context.newPage();
          const room = PICTURES ? "lobby" : own;
          await ada.goto(`${pageA}/?${new URLSearchParams({ name: "Ada", room })}`);
          await ada.waitForSelector("#state[data-state=connected]");
          await shot(ada, "-join");
          await join(ada, room);
          const grace = await demo(plain, pageB, { name: "Grace", room, transport: "LongPolling" });
          const id = await grace.textContent("#connection-id");
          await ada.locator(`code[title="Connection ${id}"]`).waitFor();
          await say(ada, "Morning! Which replica are you on?");
          await hears(grace, "Morning!");
          for (const text of ["The second one, over long polling.", "Nothing but Redis between us."]) {
            await say(grace, text);
            await hears(ada, text);
          }
          await say(ada, "And no framework in this page: one script of its own, one style sheet, nothing from elsewhere.");
          await sent(ada, "And no framework");
          await ada.waitForSelector("#latency >> text=/ ms/", { state: "attached" });
          await ada.evaluate(() => (document.getElementById("server").textContent = "127.0.0.1:8080/chat"));
          await shot(ada, "");
          if (device === "phone") {
            await ada.click("summary");
            await shot(ada, "-connection");
          }
          assert.ok(await ada.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the screen");
          const web = await example(context, BASE_A, { name: "Ada", room: `${room}-web`, protocol: "messagepack" });
          await say(web, "Hello from @microsoft/signalr");
          await sent(web, "Hello from @microsoft/signalr");
          await shot(web, "-example");
        } finally {
          await context.close();
        }
      });
    }
  }
  if (PICTURES) await pictures();
} catch (error) {
  fail("outside the tests", error);
} finally {
  for (const step of cleanUp.reverse()) await step();
}
end();
