// The status, told anew by /live. Without this the page says what was so when it was opened.
"use strict";

const MOST = 60; // points of a plot
const by = (id) => document.getElementById(id);
const series = { busy: [], memory: [] };

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at++; }
  return `${bytes.toFixed(at && bytes < 100 ? 1 : 0)} ${units[at]}`;
}

function span(seconds) {
  const days = Math.floor(seconds / 86400);
  const clock = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map((n) => String(Math.floor(n)).padStart(2, "0"));
  return (days ? `${days} d ` : "") + clock.join(":");
}

function plot(name, value) {
  const points = series[name];
  points.push(value);
  if (points.length > MOST) points.shift();
  const step = 120 / (MOST - 1), first = MOST - points.length;
  by(`${name}-plot`).firstElementChild.setAttribute("points",
    points.map((v, i) => `${((first + i) * step).toFixed(1)},${(31 - 30 * v).toFixed(1)}`).join(" "));
}

function row(line) {
  const tr = document.createElement("tr");
  const cells = [line.name, size(line.received), size(line.received_rate ?? 0), size(line.sent), size(line.sent_rate ?? 0)];
  cells.forEach((text, i) => {
    const cell = document.createElement(i ? "td" : "th");
    cell.textContent = text;
    if (i) cell.className = "number";
    tr.append(cell);
  });
  return tr;
}

function tell(now) {
  if (now.busy !== undefined) {
    by("busy").textContent = `${Math.round(now.busy * 100)} %`;
    plot("busy", now.busy);
  }
  if (now.memory) {
    by("memory").textContent = `${size(now.memory.used)} of ${size(now.memory.total)}`;
    plot("memory", now.memory.used / now.memory.total);
  }
  if (now.load !== undefined) by("load").textContent = now.load.toFixed(2);
  if (now.processes !== undefined) by("processes").textContent = now.processes;
  if (now.uptime !== undefined) by("uptime").textContent = span(now.uptime);
  by("network").replaceChildren(...Array.from(now.network ?? [], row));
}

const events = new EventSource("/live");
events.onmessage = (event) => {
  by("link").textContent = "live";
  tell(JSON.parse(event.data));
};
events.onerror = () => { by("link").textContent = "the device does not answer"; };
