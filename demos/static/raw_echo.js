"use strict";

const $ = (id) => document.getElementById(id);
const base = new URL("/raw-echo/", location.href);
base.protocol = base.protocol.replace("http", "ws");

let viewer; // reports the frames of the echo, takes orders
let socket; // the echo itself
let count = 0;

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
  const open = state === "open";
  $("reconnect").hidden = state !== "closed";
  for (const button of document.querySelectorAll("form button")) button.disabled = !open;
}

function connect() {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
  status("connecting", "connecting");
  viewer?.close();
  viewer = new WebSocket(new URL("watch/" + key, base));
  viewer.onmessage = (event) => show(JSON.parse(event.data));
  viewer.onerror = () => status("closed", "the server does not answer");
  viewer.onopen = () => {
    order({ do: "cut", pieces: $("pieces").value });
    socket = new WebSocket(new URL("socket/" + key, base));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => status("open", "connected");
    socket.onclose = (event) => {
      const reason = event.reason ? ` “${event.reason}”` : "";
      status("closed", `closed: the browser reports code ${event.code}${reason}`);
    };
  };
}

function order(what) {
  viewer.send(JSON.stringify(what));
}

function cell(row, text, className = "", label = "") {
  const td = row.insertCell();
  if (label) td.dataset.label = label; // shown if the screen is too narrow for the head of the table
  td.className = className;
  td.textContent = text;
  return td;
}

function show(report) {
  $("empty").hidden = true;
  const row = $("frames").insertRow();
  row.dataset.direction = report.direction;
  if (report.direction === "ended" || report.direction === "refused") {
    const td = cell(row, report.why ?? `session ended: Close received ${report.received ?? "never"}, sent ${report.sent ?? "never"}`);
    td.colSpan = 8;
  } else {
    row.dataset.opcode = report.name;
    cell(row, String(++count), "number");
    cell(row, report.direction, "direction");
    const opcode = cell(row, "");
    const badge = opcode.appendChild(document.createElement("span"));
    badge.className = "badge";
    badge.textContent = `${report.opcode} ${report.name.toLowerCase()}`;
    cell(row, report.fin ? "1" : "0", "mono", "fin");
    cell(row, report.rsv.map(Number).join(" "), "mono", "rsv");
    cell(row, String(report.length), "number", "length");
    cell(row, report.masking_key ?? "none", report.masking_key ? "mono" : "none", "key");
    const payload = cell(row, "", "payload");
    if (report.text) payload.appendChild(document.createElement("span")).textContent = report.text;
    const code = payload.appendChild(document.createElement("code"));
    const rest = report.length - (report.hex.length + 1) / 3;
    code.textContent = report.hex + (rest > 0 ? ` … ${rest} more bytes` : "");
  }
  row.scrollIntoView({ block: "nearest" });
}

$("message").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value;
  socket.send($("type").value === "binary" ? new TextEncoder().encode(text) : text);
  $("text").select();
};

$("pieces").onchange = () => {
  if (viewer.readyState === WebSocket.OPEN) order({ do: "cut", pieces: $("pieces").value });
};

$("ping").onsubmit = (event) => {
  event.preventDefault();
  order({ do: "ping", payload: $("ping-payload").value });
};

$("close").onsubmit = (event) => {
  event.preventDefault();
  const code = Number($("code").value);
  const reason = $("reason").value;
  if (event.submitter.value === "server") {
    order({ do: "close", code, reason });
    return;
  }
  try {
    socket.close(code, reason);
  } catch (error) {
    show({ direction: "refused", why: error.message });
  }
};

$("reconnect").onclick = connect;
$("clear").onclick = () => {
  $("frames").replaceChildren();
  $("empty").hidden = false;
  count = 0;
};

connect();
