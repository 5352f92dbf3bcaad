-- RFC 9112 5.1
return { status = 400 }
