-- RFC 9110 10.1.1
return { status = 417 }
