-- RFC 9110 5.5
return { status = 400 }
