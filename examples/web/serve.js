// Serves the chat page and, from node_modules, the browser builds of the SignalR packages. There is nothing to build.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";

const port = process.env.PORT ?? 3000;
const hub = process.env.HUB_URL ?? "http://127.0.0.1:8080/chat";

const html = "text/html; charset=utf-8", css = "text/css", js = "text/javascript; charset=utf-8";
const files = {
  "/": ["public/index.html", html],
  "/style.css": ["public/style.css", css],
  "/chat.js": ["public/chat.js", js],
  "/signalr.js": ["node_modules/@microsoft/signalr/dist/browser/signalr.min.js", js],
  "/signalr-protocol-msgpack.js": [
    "node_modules/@microsoft/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.min.js", js],
};

createServer(async (request, response) => {
  const [path] = request.url.split("?");
  if (path === "/settings.json") {
    response.setHeader("content-type", "application/json").end(JSON.stringify({ hub }));
  } else if (files[path]) {
    const [file, type] = files[path];
    response.setHeader("content-type", type).end(await readFile(new URL(file, import.meta.url)));
  } else {
    response.writeHead(404).end();
  }
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/ connects to ${hub}`));
