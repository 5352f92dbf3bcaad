-- RFC 9112 9.3
return {
  { method = "GET", target = "/x", body = "", keep = true },
  { method = "GET", target = "/x", body = "", keep = true },
}
