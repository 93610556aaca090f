// A client with the API of browsers: it connects, echoes every message, and resolves when the connection is over.
// In Node: node [--experimental-websocket] agent.js KIND ORIGIN AGENT LIMIT AT_ONCE, with a list of names as JSON on
// stdin. KIND is "ws" (NODE_PATH names the folder that has it) or "built-in". A line of JSON says when a visit begins
// and when it is over. In a browser only `visit` is used.
'use strict';

const MAX_ECHO = 2 ** 20;

function visit(WebSocket, url, limit) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const timer = setTimeout(() => {
      socket.close();
      resolve();
    }, limit * 1000);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => {
      if ((data.length ?? data.byteLength) <= MAX_ECHO) socket.send(data);
    };
    const over = () => {
      clearTimeout(timer);
      resolve();
    };
    socket.onclose = over;
    socket.onerror = () => setTimeout(over, 500); // in Node 20 no close event follows
  });
}

async function main() {
  const [kind, origin, agent, limit, atOnce] = process.argv.slice(2);
  const Kind = kind === 'ws' ? require('ws') : globalThis.WebSocket;
  const version = kind === 'ws' ? require('ws/package.json').version : process.version.slice(1);
  const names = JSON.parse(require('fs').readFileSync(0));
  const say = (what) => console.log(JSON.stringify(what));
  say({ version });
  async function worker() {
    while (names.length) {
      const name = names.shift();
      say({ began: name });
      await visit(Kind, `ws://${origin}/m/${name}?agent=${agent}`, Number(limit));
      say({ over: name });
    }
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, worker));
  process.exit();
}

if (typeof process !== 'undefined') main();
