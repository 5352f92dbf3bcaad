-- --limit-request-line
return { status = 414 }
