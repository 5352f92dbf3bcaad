-- RFC 9112 2.2
return { status = 400 }
