// A small SignalR client: negotiate, WebSockets, Server-Sent Events, long polling, the JSON hub protocol, automatic
// reconnect, streams. It has only what the demo page needs, and is meant to be read. Applications should use the official
// @microsoft/signalr, which also supports MessagePack and stateful reconnect.
//
//   const connection = new Connection("/chat", { transport: "LongPolling" });   // transport: optional, default: the best
//   connection.on("ReceiveMessage", (user, text) => ...);
//   connection.onstate = (state, detail) => ...;      // for `state` see below; detail: { error, retryIn }
//   await connection.start();
//   await connection.invoke("SendMessage", "Ada", "Hello");
//   const stream = connection.stream("WatchRoom", ["lobby"], (item) => ...);   // stream.done, stream.cancel()
//   await connection.upload("SendLines", ["lobby"], lines);                     // lines: any (async) iterable
//   await connection.stop();

const RECORD_END = "\x1e"; // ends every JSON hub message
const INVOCATION = 1, STREAM_ITEM = 2, COMPLETION = 3, STREAM_INVOCATION = 4, CANCEL_INVOCATION = 5; // message types
const PING = 6, CLOSE = 7;
const HANDSHAKE_TIMEOUT = 15_000, POLL_TIMEOUT = 100_000; // in milliseconds, like all times here

export class Connection {
  /** "disconnected", "connecting", "connected" or "reconnecting". */
  state = "disconnected";
  /** Called after every change of state. */
  onstate = () => {};
  /** The id by which the server and other clients know this connection; null while there is none. */
  connectionId = null;
  /** The transport in use, null while there is none. */
  transport = null;
  /** The hub protocol; this client has only one. */
  protocol = "json";

  #url;
  #options;
  #link = null; // the open transport: { send(text), close() }
  #handlers = new Map(); // event in lower case -> functions
  #calls = new Map(); // invocation id -> { resolve, reject, onitem }
  #nextId = 0;
  #stopped = true;
  #timer = null; // keep-alive and server timeout
  #lastSent = 0; // from Date.now()
  #lastReceived = 0;
  #wake = null; // ends the wait before the next attempt early

  /** While reconnecting: tries again now instead of after the delay. */
  retryNow = () => this.#wake?.();

  /**
   * `url`: the hub's URL, absolute or relative to the page. All `options` are optional: `transport`, the only one to
   * use; `token`, an access token; `retryDelays`, the delays before the attempts to reconnect (the last one repeats);
   * `keepAlive`, how long this client sends nothing before it pings; `serverTimeout`, how long the server may send
   * nothing before the connection counts as lost.
   */
  constructor(url, options = {}) {
    this.#url = new URL(url, document.baseURI).href;
    this.#options = { retryDelays: [0, 2000, 10_000, 30_000], keepAlive: 15_000, serverTimeout: 30_000, ...options };
  }

  /**
   * Calls `handler(...args)` for each event of that name, which is case-insensitive. If the server expects a result,
   * it is that of the first handler.
   */
  on(event, handler) {
    const key = event.toLowerCase();
    this.#handlers.set(key, [...(this.#handlers.get(key) ?? []), handler]);
  }

  /** Connects. Rejects if the first attempt fails; once connected, it reconnects automatically. */
  async start() {
    if (this.state !== "disconnected") throw new Error("The connection is already started.");
    this.#stopped = false;
    this.#setState("connecting");
    try {
      await this.#connect();
    } catch (error) {
      if (!this.#stopped) this.#end(error);
      throw error;
    }
  }

  /** Closes the connection for good; pending calls are rejected. */
  async stop() {
    if (this.#stopped) return;
    const link = this.#link;
    this.#drop(new Error("The connection was stopped."));
    this.#end();
    this.#wake?.();
    await link?.close();
  }

  /** Calls a hub method and waits for its result. */
  invoke(method, ...args) {
    return this.#call({ type: INVOCATION, target: method, arguments: args });
  }

  /** Calls a streaming hub method. `done` settles when the stream ends; `cancel()` cancels it. */
  stream(method, args, onitem) {
    const invocationId = String(this.#nextId++);
    const done = this.#call({ type: STREAM_INVOCATION, invocationId, target: method, arguments: args }, onitem);
    return { done, cancel: () => this.#write({ type: CANCEL_INVOCATION, invocationId }).catch(() => {}) };
  }

  /** Calls a hub method with a stream of items and waits for its result. */
  async upload(method, args, items) {
    const id = String(this.#nextId++);
    const result = this.#call({ type: INVOCATION, target: method, arguments: args, streamIds: [id] });
    result.catch(() => {}); // it may be rejected before the caller awaits it
    for await (const item of items) await this.#write({ type: STREAM_ITEM, invocationId: id, item });
    await this.#write({ type: COMPLETION, invocationId: id });
    return result;
  }

  #call(message, onitem) {
    const invocationId = message.invocationId ?? String(this.#nextId++);
    return new Promise((resolve, reject) => {
      this.#calls.set(invocationId, { resolve, reject, onitem });
      this.#write({ ...message, invocationId }).catch((error) => {
        this.#calls.delete(invocationId);
        reject(error);
      });
    });
  }

  /** Calls a hub method without waiting for a result; resolves when the message has been sent. */
  send(method, ...args) {
    return this.#write({ type: INVOCATION, target: method, arguments: args });
  }

  async #write(message) {
    if (this.state !== "connected") throw new Error("There is no connection to the server.");
    this.#lastSent = Date.now();
    await this.#link.send(JSON.stringify(message) + RECORD_END);
  }

  #setState(state, detail = {}) {
    this.state = state;
    this.onstate(state, detail);
  }

  #end(error) {
    this.#stopped = true;
    this.#setState("disconnected", { error });
  }

  // Tries the transports that the server offers, the best first. Each attempt negotiates again, because a connection
  // cannot change its transport.
  async #connect() {
    const failures = [];
    for (const name of this.#options.transport ? [this.#options.transport] : Object.keys(TRANSPORTS)) {
      const target = await negotiate(this.#url, this.#options.token);
      if (!target.offered.includes(name)) continue;
      try {
        return await this.#attach(name, target);
      } catch (error) {
        if (this.#stopped) throw error;
        failures.push(`${name}: ${error.message}`);
      }
    }
    throw new Error(failures.join("; ") || "The server offers no transport that this page can use.");
  }

  // Opens one transport and performs the handshake over it. Everything after the handshake's answer is hub messages.
  async #attach(name, target) {
    let settle;
    const handshake = new Promise((resolve, reject) => (settle = { resolve, reject }));
    handshake.catch(() => {}); // it may be rejected before it is awaited
    let open = false, over = false;
    const onmessage = (data) => {
      if (over || (open && this.#link !== link)) return;
      this.#lastReceived = Date.now();
      const records = data.split(RECORD_END).slice(0, -1).map((record) => JSON.parse(record));
      if (!open && records.length > 0) {
        const answer = records.shift();
        if (answer.error || this.#stopped) return settle.reject(new Error(answer.error ?? "Stopped."));
        open = true;
        this.#opened(link, name, target.connectionId);
        settle.resolve();
      }
      for (const record of records) if (this.#link === link) this.#receive(record);
    };
    const onclose = (error) => {
      if (over) return;
      over = true;
      settle.reject(error ?? new Error("The server ended the connection."));
      if (open && this.#link === link) this.#lost(error);
    };
    const link = await TRANSPORTS[name](target, onmessage, onclose);
    const late = () => settle.reject(new Error("The server did not answer the handshake."));
    const timer = setTimeout(late, HANDSHAKE_TIMEOUT);
    try {
      await link.send(JSON.stringify({ protocol: "json", version: 1 }) + RECORD_END);
      await handshake;
    } catch (error) {
      over = true;
      link.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #opened(link, name, connectionId) {
    this.#link = link;
    this.transport = name;
    this.connectionId = connectionId;
    this.#lastSent = Date.now();
    this.#timer = setInterval(() => this.#tick(), 1000);
    this.#setState("connected");
  }

  // Polls show by themselves that both ends are alive, so pings and the server timeout are for the other transports.
  #tick() {
    if (this.transport === "LongPolling") return;
    const now = Date.now();
    if (now - this.#lastReceived > this.#options.serverTimeout) {
      const link = this.#link;
      this.#lost(new Error("The server was silent for too long."));
      link.close();
    } else if (now - this.#lastSent >= this.#options.keepAlive) {
      this.#write({ type: PING }).catch(() => {}); // a broken transport is reported by onclose
    }
  }

  #receive(message) {
    if (message.type === INVOCATION && message.invocationId !== undefined) {
      this.#answer(message);
    } else if (message.type === STREAM_ITEM) {
      this.#calls.get(message.invocationId)?.onitem?.(message.item);
    } else if (message.type === INVOCATION) {
      for (const handler of this.#handlers.get(message.target.toLowerCase()) ?? []) {
        queueMicrotask(() => handler(...message.arguments)); // if one throws, the others still run
      }
    } else if (message.type === COMPLETION) {
      const call = this.#calls.get(message.invocationId);
      this.#calls.delete(message.invocationId);
      message.error === undefined ? call?.resolve(message.result) : call?.reject(new Error(message.error));
    } else if (message.type === CLOSE) {
      const link = this.#link;
      const error = message.error && new Error(`Server returned an error on close: ${message.error}`);
      this.#lost(error, message.allowReconnect === true);
      link.close();
    } // Pings have already updated #lastReceived; other types are not sent to this client.
  }

  // Answers an invocation whose result the server waits for.
  async #answer({ invocationId, target, arguments: args }) {
    const [handler] = this.#handlers.get(target.toLowerCase()) ?? [];
    const answer = { type: COMPLETION, invocationId };
    try {
      if (!handler) throw new Error("Client didn't provide a result.");
      answer.result = (await handler(...args)) ?? null;
    } catch (error) {
      answer.error = error.message;
    }
    this.#write(answer).catch(() => {}); // if the connection is lost, the server notices by itself
  }

  // The transport is gone: reconnect, unless the server's close message says not to.
  #lost(error, allowReconnect = true) {
    this.#drop(error ?? new Error("The connection was lost."));
    if (allowReconnect) this.#reconnect(error);
    else this.#end(error);
  }

  async #reconnect(error) {
    const delays = this.#options.retryDelays;
    for (let attempt = 0; !this.#stopped; attempt++) {
      const retryIn = delays[Math.min(attempt, delays.length - 1)];
      this.#setState("reconnecting", { error, retryIn });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, retryIn);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
      this.#wake = null;
      if (this.#stopped) return;
      this.#setState("reconnecting", { error, retryIn: 0 });
      try {
        return await this.#connect();
      } catch (failure) {
        error = failure;
      }
    }
  }

  #drop(error) {
    clearInterval(this.#timer);
    this.#link = null;
    this.transport = this.connectionId = null;
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }
}

// Negotiates a connection: { url, token, id, connectionId, offered }. Follows redirects to another server.
async function negotiate(url, token) {
  for (let hop = 0; hop < 10; hop++) {
    const address = new URL(url);
    address.pathname = address.pathname.replace(/\/?$/, "/negotiate");
    address.searchParams.set("negotiateVersion", "1");
    const answer = await (await request(address, { method: "POST" }, token)).json();
    if (answer.error) throw new Error(answer.error);
    if (!answer.url) {
      const { connectionId, connectionToken: id = connectionId, availableTransports } = answer;
      return { url, token, id, connectionId, offered: availableTransports.map(({ transport }) => transport) };
    }
    ({ url, accessToken: token = token } = answer);
  }
  throw new Error("The server redirected too many times.");
}

// Calls fetch with the token in a header. Any status that is not in `good` is an error with the text of the response.
async function request(url, init, token, good = [200]) {
  const headers = { "X-Requested-With": "XMLHttpRequest", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(url, { credentials: "include", cache: "no-store", ...init, headers });
  if (good.includes(response.status)) return response;
  throw new Error((await response.text()) || `${response.status} ${response.statusText}`);
}

// The connection's URL. WebSocket and EventSource cannot set headers, so for them the token is put into the query.
function address({ url, id, token }, tokenInQuery = false) {
  const result = new URL(url);
  result.searchParams.set("id", id);
  if (token && tokenInQuery) result.searchParams.set("access_token", token);
  return result;
}

// Sends one POST at a time, to keep messages in order; those that wait meanwhile are sent together in the next one.
function poster(target) {
  let waiting = null, running = Promise.resolve();
  return (text) => {
    if (!waiting) {
      const batch = (waiting = { body: "" });
      running = batch.sent = running.catch(() => {}).then(() => {
        waiting = null;
        return request(address(target), { method: "POST", body: batch.body }, target.token);
      });
    }
    waiting.body += text;
    return waiting.sent;
  };
}

// Each function opens a transport to `target` and resolves to { send(text), close() }. `onmessage` gets text that consists
// of whole messages; `onclose` is called when the server or the network ends the transport.
const TRANSPORTS = {
  WebSockets: (target, onmessage, onclose) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(address(target, true).href.replace(/^http/, "ws"));
      socket.onopen = () => resolve({ send: async (text) => socket.send(text), close: () => socket.close() });
      socket.onmessage = ({ data }) => onmessage(data);
      socket.onclose = ({ code, wasClean }) => {
        const error = wasClean && code === 1000 ? undefined : new Error(`The WebSocket closed with code ${code}.`);
        reject(error); // has no effect after onopen
        onclose(error);
      };
    }),

  ServerSentEvents: (target, onmessage, onclose) =>
    new Promise((resolve, reject) => {
      const source = new EventSource(address(target, true), { withCredentials: true });
      source.onopen = () => resolve({ send: poster(target), close: () => source.close() });
      source.onmessage = ({ data }) => onmessage(data);
      source.onerror = () => {
        source.close(); // otherwise the browser would reconnect by itself, with an id that is no longer valid
        reject(new Error("The event stream ended."));
        onclose(new Error("The event stream ended."));
      };
    }),

  LongPolling: async (target, onmessage, onclose) => {
    const stop = new AbortController();
    const poll = () => {
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(POLL_TIMEOUT)]);
      return request(address(target), { signal }, target.token, [200, 204]);
    };
    await poll(); // the first poll attaches the transport and is answered at once
    (async () => {
      try {
        while (!stop.signal.aborted) {
          const response = await poll();
          if (response.status === 204) return onclose();
          const text = await response.text();
          if (text) onmessage(text);
        }
      } catch (error) {
        if (!stop.signal.aborted) onclose(error);
      }
    })();
    // keepalive: the request is sent even if the page is being closed.
    const close = async () => {
      if (stop.signal.aborted) return;
      stop.abort();
      await request(address(target), { method: "DELETE", keepalive: true }, target.token, [202, 404]).catch(() => {});
    };
    return { send: poster(target), close };
  },
};
