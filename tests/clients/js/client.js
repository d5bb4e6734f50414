// Drives the official JavaScript client in node with JSON lines: one command per line on standard input, one answer or event
// per line on standard output. `node client.js 10` chooses the release line of the client: 10, 9, 8, 7, 6, 5, 31 (3.1) or
// aspnet11 (@aspnet/signalr 1.1). driver.js has the commands; tests/clients/lines.py sends them.
'use strict';
const line = process.argv[2] || '10';
const PROTOCOLS = { 9: '10', aspnet11: '-aspnet11' }; // the MessagePack package of a release line
if (line === '5') delete globalThis.fetch; // with a global fetch it believes that it is in a browser, and uses `self`
const signalR = require(`signalr${line === 'aspnet11' ? '-aspnet11' : line}`);
const { MessagePackHubProtocol } = require(`messagepack${PROTOCOLS[line] || line}`);
const { signalRDriver } = require('./driver.js');

const say = value => process.stdout.write(JSON.stringify(value) + '\n');
// Old versions throw from a socket's callback if the server refuses the socket, and leave rejections of failed requests
// unhandled when they stop; the command has failed by then anyway.
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
