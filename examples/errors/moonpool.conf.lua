-- Short enough to see it happen.
timeout = 2
max_memory = "128M"
