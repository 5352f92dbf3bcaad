-- RFC 9112 6.3: smuggling
return { status = 400 }
