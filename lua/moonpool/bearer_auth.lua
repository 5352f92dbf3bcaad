return require("moonpool.auth").bearer -- app:use(require "moonpool.bearer_auth" { … })
