-- RFC 9110 8.6
return { status = 400 }
