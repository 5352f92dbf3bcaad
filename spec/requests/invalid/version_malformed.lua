-- RFC 9112 2.3
return { status = 400 }
