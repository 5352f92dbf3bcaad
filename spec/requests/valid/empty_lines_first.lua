-- RFC 9112 2.2
return {
  { method = "GET", target = "/x", body = "", keep = true },
}
