-- RFC 9112 3.2
return { status = 400 }
