-- the shortest of 1.1
return {
  { method = "GET", target = "/x", body = "", keep = true },
}
