-- RFC 9110 15.6.6
return { status = 505 }
