// The server of test_client_peers.py: an echo by `ws`. It prints its port, and the close code of each connection.
// node ws_server.js; NODE_PATH names the folder that has ws.
'use strict';

const { WebSocketServer } = require('ws');

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has('v1') ? 'v1' : false),
});

server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket, request) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on('error', (error) => console.log(`error ${error.message}`));
  socket.on('close', (code) => console.log(`closed ${code}`));
  if (request.url === '/early') {
    socket.send('early');
    socket.ping('early');
  }
});
