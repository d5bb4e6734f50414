// The official JavaScript client, version 10, against examples/conformance, modelled on its own functional tests: a hub that
// refuses every client, redirects by negotiate, reconnects, headers, cookies, and the choice of a transport.
//
//   BASE=http://127.0.0.1:5000 node conformance.js
//
// The last line is "N passed, N failed"; the exit code is 1 on failure.
'use strict';
const assert = require('node:assert/strict');
const net = require('node:net');
const { HubConnectionBuilder, HttpTransportType, HubConnectionState, LogLevel } = require('signalr10');
const { MessagePackHubProtocol } = require('messagepack10');

const BASE = process.env.BASE;
const TRANSPORTS = ['WebSockets', 'ServerSentEvents', 'LongPolling'];
const LIMIT = 60_000; // milliseconds that one check may take
let passed = 0, failed = 0;

// ---- Connections and proxies, which are closed at the end of a check -----------------------------------------------

class Check {
  constructor() {
    this.ends = [];
  }

  connection(url, { protocol, reconnect, transport, ...options } = {}) {
    if (transport) options.transport = HttpTransportType[transport];
    const builder = new HubConnectionBuilder().withUrl(url, options).configureLogging(LogLevel.None);
    if (protocol === 'messagepack') builder.withHubProtocol(new MessagePackHubProtocol());
    if (reconnect) builder.withAutomaticReconnect([0, 100, 500, 1000]);
    const connection = builder.build();
    this.ends.push(() => connection.stop());
    return connection;
  }

  async connected(url, options) {
    const connection = this.connection(url, options);
    await connection.start();
    return connection;
  }

  // A TCP proxy in front of the server, whose connections can be cut.
  async proxy() {
    const { hostname, port } = new URL(BASE);
    const held = new Set();
    const server = net.createServer(client => {
      const upstream = net.connect(Number(port), hostname);
      for (const [socket, other] of [[client, upstream], [upstream, client]]) {
        held.add(socket);
        socket.on('error', () => {}).on('close', () => { held.delete(socket); other.destroy(); });
        socket.pipe(other);
      }
    });
    await new Promise(done => server.listen(0, '127.0.0.1', done));
    const cut = () => {
      const count = held.size;
      for (const socket of held) socket.destroy();
      return count;
    };
    this.ends.push(() => { cut(); server.close(); });
    return { base: `http://127.0.0.1:${server.address().port}`, cut };
  }

  async close() {
    for (const end of this.ends) await end();
  }
}

async function check(title, body) {
  const at = new Check();
  let timer;
  const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error(`not done in ${LIMIT} ms`)), LIMIT); });
  try {
    await Promise.race([body(at).finally(() => at.close()), late]);
    passed++;
    console.log(`ok      ${title}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${title}\n        ${String(error && error.stack || error).replaceAll('\n', '\n        ')}`);
  } finally {
    clearTimeout(timer);
  }
}

const cutAndBack = (connection, proxy) => new Promise((done, fail) => {
  connection.onreconnected(done);
  connection.onclose(error => fail(error || new Error('closed')));
  assert.ok(proxy.cut() > 0, 'no socket went through the proxy');
});

// ---- Checks -------------------------------------------------------------------------------------------------------

const checks = async () => {
  for (const transport of TRANSPORTS) {
    await check(`a hub that refuses every client: the client gets the server's text, ${transport}`, async at => {
      const connection = at.connection(`${BASE}/uncreatable`, { transport });
      const closed = new Promise(done => connection.onclose(done));
      // The Close message follows the answer to the handshake: it arrives either after start() has ended or before.
      const error = await connection.start().then(() => closed, refused => refused);
      assert.equal(error && error.message, 'Server returned an error on close: Connection closed with an error. HubException: this hub refuses every client');
      assert.equal(connection.state, HubConnectionState.Disconnected);
    });
  }

  for (const transport of TRANSPORTS) {
    await check(`a redirect of negotiate is followed, and again when the client starts again, ${transport}`, async at => {
      const connection = await at.connected(`${BASE}/redirect?baseUrl=${BASE}`, { transport });
      const first = await connection.invoke('GetNumRedirects');
      assert.ok(first >= 1, `${first} redirects`); // the server counts those of all checks
      assert.equal(await connection.invoke('GetCallerConnectionId'), connection.connectionId);
      await connection.stop();
      await connection.start();
      assert.equal(await connection.invoke('GetNumRedirects'), first + 1);
    });
    await check(`a reconnect after a redirect uses the first address again, and gets a new id, ${transport}`, async at => {
      const proxy = await at.proxy();
      const connection = await at.connected(`${BASE}/redirect?baseUrl=${proxy.base}`, { transport, reconnect: true });
      const [id, first] = [connection.connectionId, await connection.invoke('GetNumRedirects')];
      const told = await cutAndBack(connection, proxy);
      assert.notEqual(told, id);
      assert.equal(connection.connectionId, told);
      assert.equal(await connection.invoke('GetCallerConnectionId'), told);
      assert.ok(await connection.invoke('GetNumRedirects') > first); // by 1, or by more if an attempt to reconnect has failed
    });
  }

  for (const protocol of ['json', 'messagepack']) {
    await check(`a reconnect without negotiate: the client knows no id, and the server has a new one, ${protocol}`, async at => {
      const proxy = await at.proxy();
      const options = { transport: 'WebSockets', skipNegotiation: true, reconnect: true, protocol };
      const connection = await at.connected(`${proxy.base}/testhub`, options);
      assert.equal(connection.connectionId, null);
      const first = await connection.invoke('GetCallerConnectionId');
      assert.equal(await cutAndBack(connection, proxy), undefined);
      assert.equal(connection.connectionId, null);
      assert.equal(await connection.invoke('Echo', 'é'), 'é');
      const second = await connection.invoke('GetCallerConnectionId');
      assert.deepEqual([first.length, second.length], [22, 22]);
      assert.notEqual(first, second);
    });
  }

  for (const [transport, protocol] of [...TRANSPORTS.map(name => [name, 'json']), ['WebSockets', 'messagepack'], ['LongPolling', 'messagepack']]) {
    await check(`a stream that throws: the client gets the detailed error and no items, ${transport}, ${protocol}`, async at => {
      const connection = await at.connected(`${BASE}/testhub`, { transport, protocol });
      const items = [];
      const error = await new Promise((done, fail) => connection.stream('StreamThrowException', 'An error occurred.').subscribe({
        next: item => items.push(item), error: done, complete: () => fail(new Error('completed')),
      }));
      assert.equal(error.message, "An unexpected error occurred invoking 'StreamThrowException' on the server. InvalidOperationException: An error occurred.");
      assert.deepEqual(items, []);
      assert.equal(await connection.invoke('Echo', 'on'), 'on');
    });
  }

  for (const transport of TRANSPORTS) {
    await check(`the client's own User-Agent, ${transport}`, async at => {
      const connection = await at.connected(`${BASE}/testhub`, { transport });
      assert.match(await connection.invoke('GetHeader', 'User-Agent'), /^Microsoft SignalR\/10\.0 \(10\.0\.\d+; /);
      assert.equal(await connection.invoke('GetHeader', 'testHeader'), null);
    });
    await check(`the user's headers, which replace the client's own, ${transport}`, async at => {
      const headers = { 'User-Agent': 'Custom Agent', testHeader: 'testValue' };
      const connection = await at.connected(`${BASE}/testhub`, { transport, headers });
      assert.equal(await connection.invoke('GetHeader', 'User-Agent'), 'Custom Agent');
      assert.equal(await connection.invoke('GetHeader', 'testHeader'), 'testValue');
    });
    await check(`cookies set by negotiate are sent with later requests, except the expired one, ${transport}`, async at => {
      const connection = await at.connected(`${BASE}/testhub`, { transport });
      const cookies = [];
      for (const name of ['testCookie', 'testCookie2', 'expiredCookie']) cookies.push(await connection.invoke('GetCookie', name));
      assert.deepEqual(cookies, ['testValue', 'testValue2', null]);
    });
  }
  await check('without negotiate there are no cookies', async at => {
    const connection = await at.connected(`${BASE}/testhub`, { transport: 'WebSockets', skipNegotiation: true });
    assert.equal(await connection.invoke('GetCookie', 'testCookie'), null);
  });

  for (const [hub, protocol, transport] of [
    ['testhub', 'json', 'WebSockets'], ['testhub', 'messagepack', 'WebSockets'],
    ['testhub-nowebsockets', 'json', 'ServerSentEvents'], ['testhub-nowebsockets', 'messagepack', 'LongPolling'],
  ]) {
    await check(`of the transports of /${hub}, a client with ${protocol} chooses ${transport}`, async at => {
      const connection = await at.connected(`${BASE}/${hub}`, { protocol });
      assert.equal(await connection.invoke('GetActiveTransportName'), transport);
    });
  }
};

checks().then(() => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
});
