-- RFC 9112 6.3
return { status = 400 }
