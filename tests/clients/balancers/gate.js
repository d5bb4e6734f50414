// A proxy between a balancer and a server: it passes everything on, notes which connections were negotiated through it and
// the ids of the requests that it gets, and answers the health checks, so that a test can make the server look not ready or stopped.
import { createServer, request } from "node:http";
import { connect } from "node:net";

export async function gate(base) {
  const { hostname, port } = new URL(base);
  const self = {
    ready: true, // whether /readyz answers 200
    refuse: false, // whether negotiate answers 503, as it does while a server stops
    negotiated: new Map(), // id -> headers of the request: { forwarded, cookie }
    requests: [], // { method, id, upgrade } of every request with an id
    strangers: [], // ids of requests whose connections were negotiated elsewhere
  };
  const note = ({ method, url, headers }) => {
    const id = new URL(url, base).searchParams.get("id");
    if (!id) return;
    self.requests.push({ method, id, upgrade: headers.upgrade });
    if (!self.negotiated.has(id)) self.strangers.push(id);
  };
  const server = createServer((incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const path = url.split("?")[0];
    if (path === "/healthz") return outgoing.end("ok");
    if (path === "/readyz") return outgoing.writeHead(self.ready ? 200 : 503).end();
    const negotiate = path.endsWith("/negotiate");
    if (negotiate && self.refuse) return outgoing.writeHead(503).end();
    if (!negotiate) note(incoming);
    const forward = request({ hostname, port, method, path: url, headers: { ...headers, connection: "keep-alive" } }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      outgoing.flushHeaders();
      if (!negotiate) return answer.pipe(outgoing);
      const parts = [];
      answer.on("data", (part) => parts.push(part)).on("end", () => {
        const body = Buffer.concat(parts);
        const { connectionId, connectionToken = connectionId } = JSON.parse(body);
        self.negotiated.set(connectionToken, { forwarded: headers["x-forwarded-for"], cookie: headers.cookie });
        outgoing.end(body);
      });
    });
    forward.on("error", () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()));
    outgoing.on("close", () => forward.destroy());
    incoming.pipe(forward);
  });
  server.on("upgrade", (incoming, socket, head) => {
    note(incoming);
    const upstream = connect(port, hostname, () => {
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
  // The servers keep idle connections for longer than any balancer does; with Node's 5 s a balancer would use the other replica.
  server.keepAliveTimeout = 0;
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  self.port = server.address().port;
  self.close = () => (server.close(), server.closeAllConnections());
  return self;
}
