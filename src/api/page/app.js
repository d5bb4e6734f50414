// The demo chat. It uses only what the built-in hub declares: the methods JoinRoom, LeaveRoom, SendToRoom and Echo, the
// streams WatchRoom and SendLines, the events UserConnected, UserDisconnected, Notice and ReceiveMessage, and the client
// method Question, which AskClient invokes. What other clients send with SendMessage is shown too.
//
// The hub passes a message on to the room without its sender. So the page puts the name into the text, in a form that
// people can read in any client:    SendToRoom("lobby", "Ada: Hello")
// A text without a name, which a client of your own may send, is shown as it is.

import { Connection } from "./signalr-lite.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const hub = new URL(query.get("hub") ?? document.body.dataset.hub, location.href);
const RETRY_START = [0, 2000, 10_000, 30_000]; // milliseconds between attempts to make the first connection
const ROUND_TRIP_EVERY = 15_000;
const STATES = {
  disconnected: "Disconnected", connecting: "Connecting", connected: "Connected", reconnecting: "Reconnecting",
};
const NAMES = { WebSockets: "WebSockets", ServerSentEvents: "Server-Sent Events", LongPolling: "Long polling" };

let connection;
let name = "", room = "";
let retryTimer; // for the first connection; after that, the connection reconnects by itself

// Connection -------------------------------------------------------------------------------------------------------

function open(via) {
  const mine = (connection = new Connection(hub.pathname, via ? { transport: via } : {}));
  connection.onstate = (state, detail) => mine === connection && showState(state, detail);
  connection.on("ReceiveMessage", (first, message) => receive(first, message));
  connection.on("Notice", (text) => notice(String(text)));
  connection.on("Question", (question) => `${name || "Somebody"} was asked: ${question}`);
  connection.on("UserConnected", (id) => cameOnline(id));
  connection.on("UserDisconnected", (id) => event("", id, " went offline"));
  start(mine, 0);
}

async function start(mine, attempt) {
  try {
    await mine.start();
  } catch {
    if (mine !== connection) return;
    const wait = RETRY_START[Math.min(attempt + 1, RETRY_START.length - 1)];
    retryTimer = setTimeout(() => start(mine, attempt + 1), wait);
  }
}

function reopen(via) {
  const old = connection;
  clearTimeout(retryTimer);
  open(via);
  old.stop();
}

async function showState(state, { error, retryIn } = {}) {
  const up = state === "connected";
  $("state").dataset.state = state;
  $("state-text").textContent = STATES[state];
  $("transport").textContent = NAMES[connection.transport] ?? "none";
  $("protocol").textContent = connection.protocol;
  $("connection-id").textContent = connection.connectionId ?? "none";
  $("summary").textContent = up ? `${NAMES[connection.transport]}, ${connection.protocol}` : STATES[state];
  $("composer").querySelector("button").disabled = !up;
  $("upload").disabled = !up || !room;
  if (!up) $("latency").textContent = "none yet";
  if (up || error) $("notice").hidden = up;
  if (error) {
    const next = retryIn ? ` Next try in ${retryIn / 1000}\u00a0s.` : "";
    const what = state === "disconnected" ? "The server cannot be reached." : "Connection lost.";
    $("notice-text").textContent = `${what}${next}`;
    $("notice").title = error.message;
  }
  if (!up) return;
  measure();
  if (room) await enter(); // a new connection is not in any room yet
  watch(); // and does not watch one
}

async function measure() {
  const from = performance.now();
  try {
    await connection.invoke("Echo", from);
    $("latency").textContent = `${Math.max(1, Math.round(performance.now() - from))} ms`;
  } catch {
    // The hub may not have Echo, or the connection has just been lost: both are shown elsewhere.
  }
}

// Room -------------------------------------------------------------------------------------------------------------

async function enter() {
  try {
    await connection.invoke("JoinRoom", room);
  } catch (error) {
    event(`The room cannot be joined: ${error.message}`);
  }
}

async function join(newName, newRoom) {
  const moved = room !== newRoom;
  const left = moved ? room : "";
  name = newName;
  room = newRoom;
  remember("name", name);
  remember("room", room);
  $("room-title").textContent = room;
  $("me").textContent = `You are ${name}`;
  showJoin(false);
  $("upload").disabled = connection.state !== "connected";
  if (moved) $("log").replaceChildren();
  if (!moved || connection.state !== "connected") return; // once connected, showState enters the room
  if (left) connection.invoke("LeaveRoom", left).catch(() => {});
  await enter();
  watch();
}

async function say(text) {
  const item = message(name, text, "mine");
  item.classList.add("pending");
  try {
    await connection.invoke("SendToRoom", room, `${name}: ${text}`);
  } catch (error) {
    item.classList.add("failed");
    item.append(element("span", "why", `Not sent: ${error.message}`));
    scroll(true);
  }
  item.classList.remove("pending");
}

// SendToRoom arrives as (room, message), SendMessage as (user, message). In a room the text carries the name.
function receive(first, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (first !== room) return message(String(first), text);
  const [, who, said] = /^([^:]{1,24}): (.*)$/s.exec(text) ?? [null, "Somebody", text];
  message(who, said);
}

// Streams ----------------------------------------------------------------------------------------------------------

let watching; // { cancel } of the room's stream

// From the server: everything that is sent to the room, as items { target, arguments }.
function watch() {
  watching?.cancel();
  watching = undefined;
  if (!$("watch").checked || !room || connection.state !== "connected") return;
  const stream = (watching = connection.stream("WatchRoom", [room], (item) => {
    if (stream !== watching) return;
    const line = element("li", "", `${item.target}(${item.arguments.map((value) => JSON.stringify(value)).join(", ")})`);
    $("stream").prepend(line);
    if ($("stream").childElementCount > 5) $("stream").lastElementChild.remove();
  }));
  stream.done.catch((error) => stream === watching && connection.state === "connected" && event(error.message));
}

// To the server: five lines, one after the other; the hub passes each on as it arrives.
async function count() {
  const lines = async function* () {
    for (const line of ["one", "two", "three", "four", "five"]) {
      yield `${name}: ${line}`;
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  };
  $("upload").disabled = true;
  await connection.upload("SendLines", [room], lines()).catch((error) => event(error.message));
  $("upload").disabled = connection.state !== "connected";
}

// "ID joined ROOM". If the line before says that the same client came online, it is replaced by this one.
function notice(text) {
  const [, id, where] = /^(\S+) joined (.*)$/s.exec(text) ?? [];
  if (!id) return event(text);
  if (id === connection.connectionId) return event(`You joined ${where}`);
  const last = $("log").lastElementChild;
  if (last?.dataset.online === id) last.remove();
  event("", id, ` joined ${where}`);
}

function cameOnline(id) {
  event("", id, " came online").dataset.online = id;
}

// Rendering: text only, never markup -------------------------------------------------------------------------------

function element(tag, className, text) {
  const result = document.createElement(tag);
  result.className = className;
  if (text !== undefined) result.textContent = text;
  return result;
}

function event(before, id, after = "") {
  const item = element("li", "event", before);
  if (id !== undefined) {
    const short = element("code", "", String(id).slice(0, 6));
    short.title = `Connection ${id}`;
    item.append(short, after);
  }
  return append(item);
}

function message(who, text, kind = "") {
  const last = $("log").lastElementChild;
  const item = element("li", `message ${kind}`);
  item.dataset.who = who;
  if (last?.dataset.who === who && last.classList.contains("mine") === (kind === "mine")) item.classList.add("more");
  const face = element("span", "face", [...who][0]?.toUpperCase() ?? "?");
  face.dataset.hue = [...who].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 6;
  face.ariaHidden = "true";
  const head = element("div", "head");
  const now = new Date();
  const time = element("time", "", now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = now.toISOString();
  head.append(element("span", "who", who), time);
  item.append(head, face, element("div", "said", text));
  return append(item, kind === "mine");
}

const MAX_LINES = 500;

function append(item, always = false) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(item);
  if (log.childElementCount > MAX_LINES) log.firstElementChild.remove();
  scroll(atEnd || always);
  return item;
}

function scroll(wanted) {
  if (wanted) $("log").scrollTop = $("log").scrollHeight;
}

function showJoin(on) {
  $("join").hidden = !on;
  $("composer").hidden = on;
  $("change").hidden = on;
  document.querySelector(".chat").classList.toggle("joining", on);
  $(on ? "name" : "text").focus();
}

// A browser may refuse storage; then the page remembers nothing.
function remember(key, value) {
  try {
    localStorage.setItem(`hubplane.${key}`, value);
  } catch {}
}

function recall(key) {
  try {
    return localStorage.getItem(`hubplane.${key}`);
  } catch {
    return null;
  }
}

// Event handlers ---------------------------------------------------------------------------------------------------

$("join").addEventListener("submit", (submit) => {
  submit.preventDefault();
  join($("name").value.trim(), $("room").value.trim());
});

$("composer").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const text = $("text").value.trim();
  if (!text || connection.state !== "connected") return;
  $("text").value = "";
  say(text);
});

$("watch").addEventListener("change", () => {
  $("stream").replaceChildren();
  watch();
});
$("upload").addEventListener("click", count);
$("change").addEventListener("click", () => showJoin(true));
$("retry").addEventListener("click", () => {
  if (connection.state === "reconnecting") connection.retryNow();
  else if (connection.state === "disconnected") reopen(query.get("transport"));
});

$("choice").addEventListener("change", ({ target }) => {
  if (target.value) query.set("transport", target.value);
  else query.delete("transport");
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
  reopen(target.value);
});

const wide = matchMedia("(min-width: 800px)");
const fit = () => ($("panel").open = wide.matches);
wide.addEventListener("change", fit);
fit();

$("server").textContent = location.host + hub.pathname;
$("name").value = query.get("name") ?? recall("name") ?? "";
$("room").value = query.get("room") ?? recall("room") ?? "lobby";
const wanted = [...$("choice").elements].find(({ type, value }) => type === "radio" && value === query.get("transport"));
if (wanted) wanted.checked = true;
setInterval(() => connection.state === "connected" && measure(), ROUND_TRIP_EVERY);
addEventListener("online", () => connection.retryNow());
addEventListener("pagehide", () => connection.stop());
addEventListener("pageshow", ({ persisted }) => persisted && reopen(query.get("transport")));
showJoin(true);
open(wanted?.value);
