-- RFC 9110 9.3.1: framing does not depend on the method
return {
  { method = "GET", target = "/x", body = "GET /", keep = true },
}
