// A proxy that serves the demo page's files and passes everything else, including WebSockets, on to a SignalR server, so that
// the page can be tried with a server that does not have it:    node stand-in.js http://127.0.0.1:5000 8000
import { createServer, request } from "node:http";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

const PAGE = new URL("../../../src/api/page/", import.meta.url);
const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/style.css": ["style.css", "text/css; charset=utf-8"],
  "/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/signalr-lite.js": ["signalr-lite.js", "text/javascript; charset=utf-8"],
};
export const POLICY = "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:";

export function standIn(base, port = 0) {
  const { hostname, port: target } = new URL(base);
  const sockets = new Set();
  const server = createServer(async (incoming, outgoing) => {
    const file = FILES[incoming.url.split("?")[0]];
    if (file) {
      outgoing.writeHead(200, { "content-type": file[1], "content-security-policy": POLICY });
      return outgoing.end(await readFile(new URL(file[0], PAGE)));
    }
    const { method, url, headers } = incoming;
    const forward = request({ hostname, port: target, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      outgoing.flushHeaders();
      answer.pipe(outgoing).on("close", () => answer.destroy());
    });
    forward.on("error", () => outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end());
    outgoing.on("close", () => forward.destroy());
    incoming.pipe(forward);
  });
  server.on("upgrade", (incoming, socket, head) => {
    const upstream = connect(target, hostname, () => {
      const lines = [];
      for (let i = 0; i < incoming.rawHeaders.length; i += 2) lines.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
      upstream.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      upstream.write(head);
      socket.pipe(upstream).pipe(socket);
    });
    for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
    }
  });
  server.on("connection", (socket) => sockets.add(socket.on("close", () => sockets.delete(socket))));
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        drop: () => sockets.forEach((socket) => socket.destroy()), // cuts every connection
        close: () => (server.close(), sockets.forEach((socket) => socket.destroy())),
      }));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await standIn(process.argv[2], Number(process.argv[3] ?? 8000));
  console.log(`${url}/ stands in front of ${process.argv[2]}`);
}
