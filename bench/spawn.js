// The same on node: PORT.
const http = require("http");
const { spawn } = require("child_process");
http.createServer((req, res) => {
  if (req.url === "/hello") return res.end("hello world");
  spawn("/bin/true").on("error", (e) => res.end(String(e))).on("close", (code) => res.end(String(code)));
}).listen(Number(process.argv[2]), "127.0.0.1");
