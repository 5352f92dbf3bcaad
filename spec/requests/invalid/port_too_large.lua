-- RFC 3986 3.2.3
return { status = 400 }
