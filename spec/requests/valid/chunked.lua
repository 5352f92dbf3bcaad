-- RFC 9112 7.1: extensions and trailers are passed over
return {
  { method = "POST", target = "/x", body = "hello world", keep = true },
  { method = "GET", target = "/x", body = "", keep = true },
}
