-- RFC 9110 5.5
return {
  { method = "GET", target = "/x", body = "", keep = true },
}
