-- RFC 3986 3.2.2
return {
  { method = "GET", target = "/x", host = "[::1]:8080", body = "", keep = true },
}
