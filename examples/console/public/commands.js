// The output of a command in the page, while it comes. Without this the browser shows it as a page of its own.
"use strict";

const output = document.getElementById("output");

async function run(form) {
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (!answer.ok) {
    output.textContent = answer.status === 422 ? "That argument is not taken.\n" : `The device says ${answer.status}.\n`;
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    output.append(value);
    output.scrollTop = output.scrollHeight;
  }
}

for (const form of document.querySelectorAll("form.command")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.hidden = false;
    output.textContent = "";
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await run(form);
    } catch {
      output.append("\n[the device does not answer]\n");
    }
    button.disabled = false;
  });
}
