-- RFC 9112 3.2.4
return { status = 400 }
