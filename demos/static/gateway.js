"use strict";

const $ = (id) => document.getElementById(id);
const here = new URL(".", location.href);
const lines = (fields) => fields.map(([name, value]) => `${name}: ${value}`).join("\n");

const socketURL = new URL("echo", here);
socketURL.protocol = socketURL.protocol.replace("http", "ws");
const socket = new WebSocket(socketURL);

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

socket.onopen = () => status("open", "connected");
socket.onclose = (event) => status("closed", `closed: the browser reports code ${event.code} ${event.reason}`);
socket.onmessage = (event) => {
  const report = JSON.parse(event.data);
  if (report.fields) $("handshake").textContent = lines(report.fields);
  else $("log").append(`${report.message}\n`);
};

$("message").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState === WebSocket.OPEN) socket.send($("text").value);
};

fetch(new URL("seen", here))
  .then((answer) => answer.json())
  .then((report) => {
    $("page").textContent = `${report.request}\n${lines(report.fields)}`;
  });
