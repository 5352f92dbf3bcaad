-- RFC 9112 3.2.2
return {
  { method = "GET", target = "http://moonpool.example/x?y", path = "/x", host = "moonpool.example", body = "", keep = true },
}
