"use strict";

const $ = (id) => document.getElementById(id);
const address = new URL("/upload/socket", location.href);
address.protocol = address.protocol.replace("http", "ws");

let socket;
let file; // the one that is sent, or was sent last

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
  $("reconnect").hidden = state !== "closed";
  $("file").disabled = $("download").disabled = state !== "open";
}

function readable(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function connect() {
  status("connecting", "connecting");
  $("transfer").hidden = $("result").hidden = true;
  socket = new WebSocket(address);
  socket.binaryType = "blob"; // the browser may keep a large one on disk
  socket.onopen = () => status("open", "connected");
  socket.onmessage = (event) => (typeof event.data === "string" ? report(JSON.parse(event.data)) : arrived(event.data));
  socket.onclose = (event) => {
    const reason = event.reason ? ` “${event.reason}”` : "";
    status("closed", `closed: the browser reports code ${event.code}${reason}`);
  };
}

function upload(chosen) {
  if (!chosen || socket.readyState !== WebSocket.OPEN) return;
  file = chosen;
  $("name").textContent = `${file.name}, ${readable(file.size)}`;
  $("progress").value = 0;
  $("rate").textContent = "";
  $("transfer").hidden = false;
  $("result").hidden = $("save").hidden = true;
  status("busy", "sending");
  socket.send("upload");
  socket.send(file); // one message, whatever its size
}

function report({ received, seconds, sha256 }) {
  $("progress").value = file.size ? received / file.size : 1;
  $("rate").textContent = readable(received);
  if (sha256 === undefined) return;
  $("rate").textContent = `${readable(received)} in ${seconds.toFixed(1)} s, ${readable(received / Math.max(seconds, 0.001))}/s`;
  $("sha256").textContent = sha256;
  $("result").hidden = false;
  status("open", "the server has all of it");
}

function arrived(copy) {
  URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(copy);
  $("save").download = file.name;
  $("save").hidden = false;
  status("open", `${readable(copy.size)} came back`);
}

$("file").onchange = () => {
  upload($("file").files[0]);
  $("upload").reset();
};
$("drop").ondragover = (event) => {
  event.preventDefault();
  $("drop").dataset.over = "yes";
};
$("drop").ondragleave = () => delete $("drop").dataset.over;
$("drop").ondrop = (event) => {
  event.preventDefault();
  delete $("drop").dataset.over;
  upload(event.dataTransfer.files[0]);
};
$("download").onclick = () => {
  status("busy", "fetching");
  socket.send("download");
};
$("reconnect").onclick = connect;
connect();
