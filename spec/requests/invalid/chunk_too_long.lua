-- RFC 9112 7.1
return { status = 400 }
