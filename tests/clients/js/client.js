// The official JavaScript client in node, driven by JSON lines: one command a line on standard input, one answer or event a
// line on standard output. `node client.js 10` chooses the line of the client: 10, 9, 8, 7, 6, 5, 31 (3.1) or aspnet11
// (@aspnet/signalr 1.1). driver.js has the commands; tests/clients/lines.py speaks them.
'use strict';
const line = process.argv[2] || '10';
const PROTOCOLS = { 9: '10', aspnet11: '-aspnet11' }; // the package that goes with a line
if (line === '5') delete globalThis.fetch; // it takes a global fetch for a browser's, and asks for `self`
const signalR = require(`signalr${line === 'aspnet11' ? '-aspnet11' : line}`);
const { MessagePackHubProtocol } = require(`messagepack${PROTOCOLS[line] || line}`);
const { signalRDriver } = require('./driver.js');

const say = value => process.stdout.write(JSON.stringify(value) + '\n');
// Old lines throw from a socket's callback when a server refuses it, and leave failed requests unhandled when they stop; the
// command has failed by then anyway.
process.on('uncaughtException', error => say({ event: 'log', text: `uncaught: ${error.message}` }));
process.on('unhandledRejection', error => say({ event: 'log', text: `unhandled: ${error && error.message}` }));

<<<<<<< HEAD
const execute = signalRDriver({ signalR, MessagePackHubProtocol, say });
=======
/** A value of a command, as a client would hold it. */
function fromLine(value) {
  if (Array.isArray(value)) return value.map(fromLine);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$bytes === 'string') return new Uint8Array(Buffer.from(value.$bytes, 'base64'));
  if (typeof value.$date === 'string') return new Date(value.$date);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromLine(item)]));
}

/** A value a client got, as JSON can carry it. */
function toLine(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(toLine);
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') };
  if (value instanceof Date) return { $date: value.toISOString() };
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toLine(item)]));
}

// `refuse`: echoes, but fails with this text when asked for "refuse".
function handle(name, connection, { method, answer, echo, fail, refuse, count }) {
  const asked = answer !== undefined || echo || fail !== undefined;
  connection.on(method, (...args) => {
    say({ event: 'message', on: name, method, args: (count ? args.slice(0, count) : args).map(toLine) });
    if (fail !== undefined) throw new Error(fail);
    if (refuse !== undefined && args[0] === 'refuse') throw new Error(refuse);
    return asked ? (echo ? args[0] : fromLine(answer)) : undefined;
  });
}

function build(name, command) {
  const options = { skipNegotiation: !!command.skipNegotiation, headers: command.headers };
  if (command.transport) options.transport = signalR.HttpTransportType[command.transport];
  if (command.token) options.accessTokenFactory = () => command.token;
  let builder = new signalR.HubConnectionBuilder().withUrl(command.url, options).configureLogging(signalR.LogLevel.None);
  if (command.protocol === 'messagepack') builder = builder.withHubProtocol(new MessagePackHubProtocol());
  if (command.reconnect) builder = builder.withAutomaticReconnect(command.reconnect);
  if (command.stateful) builder = builder.withStatefulReconnect();
  const connection = builder.build();
  if (command.serverTimeout) connection.serverTimeoutInMilliseconds = command.serverTimeout;
  if (command.keepAlive) connection.keepAliveIntervalInMilliseconds = command.keepAlive;
  const tell = event => error => say({ event, on: name, error: error ? error.message : null });
  connection.onclose(tell('closed'));
  connection.onreconnecting(tell('reconnecting'));
  connection.onreconnected(id => say({ event: 'reconnected', on: name, connectionId: id }));
  return connection;
}

async function execute(command) {
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
          if (++count === command.take) { subscription.dispose(); resolve({ result: count }); }
        },
        complete: () => resolve({ result: count }),
        error: reject,
      });
      streams.set(id, { dispose: () => { subscription.dispose(); resolve({ result: count }); } });
    });
    case 'cancel': streams.get(command.stream).dispose(); return { ok: true };
    case 'state': return { result: { state: connection.state, connectionId: connection.connectionId || null } };
    case 'stop': await connection.stop(); return { ok: true };
    case 'start': await connection.start(); return { result: connection.connectionId || null };
    default: throw new Error(`no operation "${op}"`);
  }
}

>>>>>>> refs/heads/hubs5
require('readline').createInterface({ input: process.stdin })
  .on('line', async text => {
    if (!text) return;
    const command = JSON.parse(text);
    try {
      say({ id: command.id, ...await execute(command) });
    } catch (error) {
      say({ id: command.id, error: String(error && error.message || error), type: error && error.name });
    }
  })
  .on('close', () => process.exit(0));
