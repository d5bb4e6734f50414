// Drives the official JavaScript client with JSON lines, in node and on a page: `signalRDriver({signalR,
// MessagePackHubProtocol, say})` returns an async function that executes a command and returns its answer; it passes events to
// `say`. The commands are those of the .NET client's driver (connect, handle, invoke, send, stream, cancel, upload, state,
// stop, start).
'use strict';
(function (root) {
  const bytes = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const base64 = value => btoa(Array.from(value, byte => String.fromCharCode(byte)).join(''));

  /** A value of a command, as a program would pass it to the client. */
  function fromLine(value) {
    if (Array.isArray(value)) return value.map(fromLine);
    if (value === null || typeof value !== 'object') return value;
    if (typeof value.$bytes === 'string') return bytes(value.$bytes);
    if (typeof value.$date === 'string') return new Date(value.$date);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromLine(item)]));
  }

  /** A value received by the client, as JSON can carry it. */
  function toLine(value) {
    if (value === undefined || value === null) return null;
    if (typeof value === 'bigint') return Number(value);
    if (Array.isArray(value)) return value.map(toLine);
    if (value instanceof Uint8Array) return { $bytes: base64(value) };
    if (value instanceof ArrayBuffer) return { $bytes: base64(new Uint8Array(value)) };
    if (value instanceof Date) return { $date: value.toISOString() };
    if (typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toLine(item)]));
  }

  root.signalRDriver = ({ signalR, MessagePackHubProtocol, say }) => {
    const connections = new Map();
    const streams = new Map();
    const pause = ms => new Promise(done => setTimeout(done, ms));

    // `refuse`: the handler fails with this text if its argument is "refuse".
    function handle(name, connection, { method, answer, echo, fail, refuse, count, delay }) {
      const asked = answer !== undefined || echo || fail !== undefined;
      connection.on(method, (...args) => {
        say({ event: 'message', on: name, method, args: (count ? args.slice(0, count) : args).map(toLine) });
        if (fail !== undefined) throw new Error(fail);
        if (refuse !== undefined && args[0] === 'refuse') throw new Error(refuse);
        if (!asked) return undefined;
        const value = echo ? args[0] : fromLine(answer);
        return delay ? pause(delay).then(() => value) : value;
      });
    }

    function build(name, command) {
      const options = { skipNegotiation: !!command.skipNegotiation, headers: command.headers };
      if (command.transport) options.transport = signalR.HttpTransportType[command.transport];
      if (command.token) options.accessTokenFactory = () => command.token;
      if (command.withCredentials !== undefined) options.withCredentials = command.withCredentials;
      // The options hold the transport and the log level too, for versions before 3.0.
      let builder = new signalR.HubConnectionBuilder().withUrl(command.url, options).configureLogging(signalR.LogLevel.None);
      if (command.protocol === 'messagepack') builder = builder.withHubProtocol(new MessagePackHubProtocol());
      if (command.reconnect) builder = builder.withAutomaticReconnect(command.reconnect);
      if (command.stateful) builder = builder.withStatefulReconnect();
      const connection = builder.build();
      if (command.serverTimeout) connection.serverTimeoutInMilliseconds = command.serverTimeout;
      if (command.keepAlive) connection.keepAliveIntervalInMilliseconds = command.keepAlive;
      const tell = event => error => say({ event, on: name, error: error ? error.message : null });
      connection.onclose(tell('closed'));
      if (connection.onreconnecting) {
        connection.onreconnecting(tell('reconnecting'));
        connection.onreconnected(id => say({ event: 'reconnected', on: name, connectionId: id }));
      }
      return connection;
    }

    async function upload(connection, { method, uploads, delay, fail }, args) {
      const subjects = uploads.map(() => new signalR.Subject());
      const done = connection.invoke(method, ...args, ...subjects);
      done.catch(() => {}); // awaited below, but it may fail while items are still being sent
      for (const [index, items] of uploads.entries()) {
        for (const item of items) {
          if (delay) await pause(delay);
          subjects[index].next(fromLine(item));
        }
        if (fail !== undefined) subjects[index].error(fail);
        else subjects[index].complete();
      }
      return toLine(await done);
    }

    return async function execute(command) {
      const { op, on = '', method, id } = command;
      if (op === 'connect') {
        const opened = build(on, command);
        connections.set(on, opened);
        for (const handler of command.handlers || []) handle(on, opened, handler);
        await opened.start();
        return { result: opened.connectionId || null };
      }
      const connection = connections.get(on);
      if (!connection) throw new Error(`no connection "${on}"`);
      const args = (command.args || []).map(fromLine);
      switch (op) {
        case 'handle': handle(on, connection, command); return { ok: true };
        case 'invoke': return { result: toLine(await connection.invoke(method, ...args)) };
        case 'send': await connection.send(method, ...args); return { ok: true };
        case 'stream': return await new Promise((resolve, reject) => {
          let count = 0;
          const subscription = connection.stream(method, ...args).subscribe({
            next: item => {
              say({ id, item: toLine(item) });
              if (++count !== command.take) return;
              try { subscription.dispose(); resolve({ result: count }); } catch (error) { reject(error); }
            },
            complete: () => resolve({ result: count }),
            error: reject,
          });
          streams.set(id, { dispose: () => { subscription.dispose(); resolve({ result: count }); } });
        });
        case 'cancel': streams.get(command.stream).dispose(); return { ok: true };
        case 'upload': return { result: await upload(connection, command, args) };
        case 'state': return { result: { state: connection.state, connectionId: connection.connectionId || null } };
        case 'stop': await connection.stop(); return { ok: true };
        case 'start': await connection.start(); return { result: connection.connectionId || null };
        default: throw new Error(`no operation "${op}"`);
      }
    };
  };
})(typeof module === 'object' ? module.exports : globalThis);
