return require("moonpool.auth").basic -- app:use(require "moonpool.basic_auth" { … })
