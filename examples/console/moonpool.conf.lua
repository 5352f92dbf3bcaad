-- What the bundle is called, and how a device serves.
bundle = { name = "console", version = "1.0" }
workers = 1
max_memory = "64M"
