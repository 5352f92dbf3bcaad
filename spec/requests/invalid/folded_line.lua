-- RFC 9112 5.2
return { status = 400 }
