-- RFC 9110 9.3.6: we are no proxy
return { status = 501 }
