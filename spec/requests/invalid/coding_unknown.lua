-- RFC 9112 6.1
return { status = 501 }
