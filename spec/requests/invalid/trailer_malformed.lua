-- RFC 9112 7.1.2
return { status = 400 }
