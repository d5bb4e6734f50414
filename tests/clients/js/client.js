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

const execute = signalRDriver({ signalR, MessagePackHubProtocol, say });
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
