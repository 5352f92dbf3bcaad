-- RFC 9112 3
return { status = 400 }
