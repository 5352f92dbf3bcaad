-- RFC 9112 3.2.4
return {
  { method = "OPTIONS", target = "*", body = "", keep = true },
}
