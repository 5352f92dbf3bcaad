-- RFC 9112 9.6: what follows is not read
return {
  { method = "GET", target = "/x", body = "", keep = false },
}
