-- --limit-request-field-size
return { status = 431 }
