-- RFC 9112 3.2: no target has a fragment
return { status = 400 }
