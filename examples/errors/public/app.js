"use strict";

// Fails without leaving the page, and keeps the list of reports fresh. Without this script the forms do what they say.

const PATIENCE = 1500; // milliseconds, before the client of "cancelled" goes away

async function fail(form) {
  const outcome = form.querySelector(".outcome");
  const leaves = form.action.endsWith("/cancelled");
  const abort = new AbortController();
  const timer = leaves ? setTimeout(() => abort.abort(), PATIENCE) : 0;
  outcome.textContent = "…";
  try {
    const response = await fetch(form.action, { method: "POST", headers: { Accept: "text/html" }, signal: abort.signal });
    outcome.textContent = `The client saw ${response.status}`;
    await response.text();
  } catch (error) {
    outcome.textContent = error.name === "AbortError" ? "The client went away" : "The client saw the connection break";
  }
  clearTimeout(timer);
  refresh();
}

async function refresh() {
  const response = await fetch("/reports/list").catch(() => null);
  if (response?.ok) document.getElementById("reports").innerHTML = await response.text(); // escaped by the server
}

for (const form of document.querySelectorAll(".ways form")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); fail(form); });
}

if (document.getElementById("reports")) {
  const live = new EventSource("/reports/live");
  live.addEventListener("report", refresh);
  live.addEventListener("ready", refresh);
}
