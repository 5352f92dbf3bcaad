-- RFC 9112 5
return { status = 400 }
