-- --max-body
return { status = 413 }
