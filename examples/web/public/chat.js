// Hubplane's demo chat, written with the official client as in an application of your own.
// `signalR` comes from @microsoft/signalr, `signalR.protocols.msgpack` from @microsoft/signalr-protocol-msgpack.

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
let connection;

async function connect() {
  const { hub } = await (await fetch("settings.json")).json();
  const via = $("via").value;
  const builder = new signalR.HubConnectionBuilder()
    .withUrl(query.get("hub") ?? hub, via ? { transport: signalR.HttpTransportType[via] } : {})
    .withAutomaticReconnect()
    .configureLogging(signalR.LogLevel.Warning);
  if ($("format").value === "messagepack") builder.withHubProtocol(new signalR.protocols.msgpack.MessagePackHubProtocol());
  connection = builder.build();

  // SendToRoom arrives as (room, "name: text"), SendMessage as (user, text).
  connection.on("ReceiveMessage", (first, message) => {
    const text = typeof message === "string" ? message : JSON.stringify(message);
    show(first === $("room").value ? text : `${first}: ${text}`);
  });
  connection.on("Notice", (text) => show(text, "event"));
  connection.on("UserConnected", (id) => show(`${id} came online`, "event"));
  connection.on("UserDisconnected", (id) => show(`${id} went offline`, "event"));

  connection.onreconnecting(() => state("reconnecting"));
  connection.onreconnected(enter); // a new connection is not in any room yet
  connection.onclose(() => state("disconnected"));

  await connection.start();
  await enter();
}

async function enter() {
  await connection.invoke("JoinRoom", $("room").value);
  state("connected");
}

function state(name) {
  $("state").textContent = $("state").dataset.state = name;
  $("transport").textContent = name === "connected" ? $("via").value || "automatic transport" : "";
  $("protocol").textContent = name === "connected" ? $("format").value : "";
}

function show(text, kind = "message") {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  $("log").append(item);
  item.scrollIntoView({ block: "nearest" });
}

$("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("join").hidden = true;
  try {
    await connect();
    $("composer").hidden = false;
    $("text").focus();
  } catch (error) {
    state("disconnected");
    show(error.message, "event");
    $("join").hidden = false;
  }
});

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  // The hub passes the message on unchanged, so it must contain the name. It is not sent back to its sender.
  const message = `${$("name").value}: ${text}`;
  $("text").value = "";
  try {
    await connection.invoke("SendToRoom", $("room").value, message);
    show(message, "message mine");
  } catch (error) {
    show(`Not sent: ${error.message}`, "event");
  }
});

for (const [id, key] of [["name", "name"], ["room", "room"], ["via", "transport"], ["format", "protocol"]]) {
  if (query.has(key)) $(id).value = query.get(key);
}
