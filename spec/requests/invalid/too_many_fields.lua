-- --limit-request-fields
return { status = 431 }
