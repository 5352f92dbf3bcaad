-- RFC 9112 2.2: lines end with CRLF
return { status = 400 }
