// The client of test_clients_node.py: `ws` talks to an echo server, and what it saw goes to stdout as JSON.
// node ws_client.js URL COMPRESS(0|1); NODE_PATH names the folder that has ws.
'use strict';

const WebSocket = require('ws');

const [url, compress] = process.argv.slice(2);
const SIZES = [0, 1, 125, 126, 65535, 65536, 300000];
const seen = { ws: require('ws/package.json').version, wrong: [], pongs: 0 };
const wanted = [];
let received = 0;

const socket = new WebSocket(url, { perMessageDeflate: compress === '1' && { threshold: 0 } });

function send(data) {
  wanted.push(data);
  socket.send(data);
}

socket.on('open', () => {
  seen.extensions = socket.extensions;
  send('Grüße, 世界! 🙂');
  for (const size of SIZES) {
    send('ab'.repeat(size >> 1));
    send(Buffer.alloc(size, 'mask me'));
  }
  for (let number = 0; number < 300; number++) send(`message ${number} `.repeat(number % 50));

  // One message in fragments, with pings in between.
  wanted.push('Gr' + 'ü' + 'ße'.repeat(1000));
  socket.send('Gr', { fin: false });
  socket.ping('between');
  socket.send('ü', { fin: false });
  socket.ping('between');
  socket.send('ße'.repeat(1000), { fin: true });
});

socket.on('pong', (payload) => {
  if (payload.toString() === 'between') seen.pongs++;
});

socket.on('message', (data, isBinary) => {
  const sent = wanted[received++];
  const same = isBinary ? Buffer.isBuffer(sent) && data.equals(sent) : data.toString() === sent;
  if (!same) seen.wrong.push(received - 1);
  if (received === wanted.length) socket.close(4002, 'that was all');
});

socket.on('error', (error) => {
  seen.error = String(error);
});

socket.on('close', (code, reason) => {
  Object.assign(seen, { sent: wanted.length, received, code, reason: reason.toString() });
  console.log(JSON.stringify(seen));
});
