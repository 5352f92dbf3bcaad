-- RFC 9110 5.1
return { status = 400 }
