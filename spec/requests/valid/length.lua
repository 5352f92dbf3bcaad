-- pipelined behind a body
return {
  { method = "POST", target = "/x", body = "hello", keep = true },
  { method = "GET", target = "/x", body = "", keep = true },
}
