-- no version
return { status = 400 }
