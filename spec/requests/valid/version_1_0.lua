-- no Host, no persistence
return {
  { method = "GET", target = "/x", body = "", keep = false },
}
