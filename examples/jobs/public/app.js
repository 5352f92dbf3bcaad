"use strict";

// The page's half of a job: start it, show its output, say how it ended. Hanging up is what cancels it.

const KEPT = 200000; // characters of output that a page keeps of a job

// "one 'two words'" → ["one", "two words"]; quotes group, a backslash takes the next character as it is.
function splitArguments(line) {
  const list = [];
  let current = null, quote = "";
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (c === "\\" && quote !== "'" && i + 1 < line.length) current = (current ?? "") + line[++i];
    else if (quote) { if (c === quote) quote = ""; else current += c; }
    else if (c === "'" || c === '"') { quote = c; current ??= ""; }
    else if (/\s/.test(c)) { if (current !== null) list.push(current); current = null; }
    else current = (current ?? "") + c;
  }
  if (quote) throw new Error(`the quote ${quote} is not closed`);
  if (current !== null) list.push(current);
  return list;
}

// Shows text as a terminal would, as far as scripts need it: lines, "\r" that begins a line again, colours.
class Screen {
  constructor(element) {
    this.element = element;
    this.reset();
  }

  reset() {
    this.element.textContent = "";
    this.style = "";
    this.rest = "";
    this.returned = false;
    this.size = 0;
    this.line = [];
  }

  write(text) {
    const atEnd = this.element.scrollTop + this.element.clientHeight >= this.element.scrollHeight - 8;
    text = this.rest + text;
    const cut = text.search(/\x1b(\[[0-9;?]*)?$/); // an escape that is not complete yet
    this.rest = cut >= 0 ? text.slice(cut) : "";
    const fresh = document.createDocumentFragment();
    for (const part of (cut >= 0 ? text.slice(0, cut) : text).split(/(\x1b\[[0-9;?]*[A-Za-z]|\r\n|\n|\r)/)) {
      if (part === "") continue;
      if (part[0] === "\x1b") this.escape(part);
      else if (part === "\n" || part === "\r\n") this.endLine(fresh);
      else if (part === "\r") this.returned = true;
      else this.put(fresh, part);
    }
    this.element.append(fresh);
    this.trim();
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  escape(code) {
    const match = code.match(/^\x1b\[([0-9;]*)m$/);
    if (!match) return;
    const numbers = match[1].split(";").filter((n) => n !== "" && n !== "0" && n !== "39");
    this.style = numbers.map((n) => "c" + n).join(" ");
  }

  put(fresh, text) {
    if (this.returned) this.clearLine();
    const span = document.createElement("span");
    span.className = this.style;
    span.textContent = text;
    this.line.push(span);
    this.size += text.length;
    fresh.append(span);
  }

  clearLine() {
    for (const span of this.line) { this.size -= span.textContent.length; span.remove(); }
    this.line = [];
    this.returned = false;
  }

  endLine(fresh) {
    fresh.append("\n");
    this.size++;
    this.line = [];
    this.returned = false;
  }

  trim() {
    while (this.size > KEPT && this.element.firstChild) {
      this.size -= this.element.firstChild.textContent.length;
      this.element.firstChild.remove();
    }
  }
}

// Yields { event, data } for each message of an event stream.
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const message = { event: "message", data: [] };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) message.event = line.slice(7);
        else if (line.startsWith("data: ")) message.data.push(line.slice(6));
      }
      if (message.data.length) yield { event: message.event, data: message.data.join("\n") };
    }
  }
}

class Job {
  constructor(script) {
    const node = document.getElementById("job").content.cloneNode(true);
    this.name = script.name;
    this.item = node.querySelector(".job");
    this.form = node.querySelector("form");
    this.input = node.querySelector("input");
    this.run = node.querySelector(".run");
    this.cancel = node.querySelector(".cancel");
    this.status = node.querySelector(".status");
    this.output = node.querySelector(".output");
    this.screen = new Screen(this.output);
    node.querySelector("h2").textContent = script.name;
    node.querySelector(".about").textContent = script.about;
    if (script.takes) {
      const about = node.querySelector(".about");
      about.textContent += `. Takes ${script.takes.map((t) => `${t.name} (${t.rule})`).join(", ")}`;
      this.input.placeholder = script.takes.map((t) => t.name).join(" ");
    }
    this.output.setAttribute("aria-label", `Output of ${script.name}`);
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    this.cancel.addEventListener("click", () => this.abort?.abort());
    this.item.addEventListener("keydown", (event) => { if (event.key === "Escape") this.abort?.abort(); });
  }

  tell(text, kind = "") {
    this.status.textContent = text;
    this.status.className = "status " + kind;
  }

  seconds() {
    return ((performance.now() - this.began) / 1000).toFixed(1) + " s";
  }

  setRunning(running) {
    this.run.hidden = running;
    this.cancel.hidden = !running;
    (running ? this.cancel : this.run).focus();
    clearInterval(this.clock);
    if (running) this.clock = setInterval(() => this.tell(`${this.waiting ? "waiting in line" : "running"}, ${this.seconds()}`), 100);
  }

  async start() {
    if (this.abort) return;
    let args;
    try { args = splitArguments(this.input.value); } catch (error) { this.tell(error.message, "bad"); return; }
    this.abort = new AbortController();
    this.began = performance.now();
    this.waiting = false;
    this.screen.reset();
    this.output.hidden = false;
    this.setRunning(true);
    const [text, kind] = await this.follow(args);
    this.abort = null;
    this.setRunning(false);
    this.tell(text, kind);
  }

  // Runs it to its end; gives the sentence that says how it ended.
  async follow(args) {
    try {
      const response = await fetch("/run/" + encodeURIComponent(this.name), {
        method: "POST",
        headers: { "Content-Type": "application/json", "Accept": "text/event-stream, application/json" },
        body: JSON.stringify({ args }),
        signal: this.abort.signal,
      });
      if (!response.ok) return [(await response.json()).message, "bad"];
      for await (const { event, data } of messages(response.body)) {
        if (event === "queued") this.waiting = true;
        if (event === "started") this.waiting = false;
        if (event === "output") this.screen.write(JSON.parse(data));
        if (event === "result") return this.describe(JSON.parse(data));
      }
      return ["the connection broke before the job had ended", "bad"];
    } catch (error) {
      if (error.name === "AbortError") return [`cancelled after ${this.seconds()}`, "bad"];
      return [`the server cannot be reached: ${error.message}`, "bad"];
    }
  }

  describe(result) {
    const after = `after ${result.elapsed.toFixed(2)} s`;
    if (result.reason === "exit") return [`exit ${result.code} ${after}`, result.ok ? "good" : "bad"];
    if (result.reason === "not started") return [result.text, "bad"];
    const cause = result.timed_out ? " (it took too long)" : "";
    if (result.reason === "signal") return [`killed by ${result.signame}${cause} ${after}`, "bad"];
    return [`its status was lost ${after}`, "bad"];
  }
}

async function list() {
  const jobs = document.getElementById("jobs");
  const notice = document.getElementById("notice");
  try {
    const response = await fetch("/jobs");
    if (!response.ok) throw new Error(`status ${response.status}`);
    for (const script of await response.json()) jobs.append(new Job(script).item);
    if (!jobs.children.length) throw new Error("the folder scripts holds no script that may be run");
  } catch (error) {
    notice.textContent = `No jobs: ${error.message}`;
    notice.hidden = false;
  }
  jobs.setAttribute("aria-busy", "false");
}

list();
