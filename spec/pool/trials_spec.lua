-- What the pool must bear, in small; bench/pool runs it whole.
local trials = require "spec.support.trials"
local server = require "spec.support.server"

describe("a pool under load", function()
  after_each(server.stop_all)

  it("is reloaded again and again, and with a broken app, without a failed request", function()
    local figures = trials.reloads(5, 3, 3)
    assert.is_true(figures.requests > 50, figures.requests)
  end)

  it("whose workers are killed fails no request but those that they had", function()
    local figures = trials.kills(2, 2, 4)
    assert.is_true(figures.kills >= 3, figures.kills)
    assert.is_true(figures.requests > 50, figures.requests)
  end)

  it("shares connections evenly among two workers, and gives none to one that is stuck", function()
    trials.shares(2, 64, 1)
  end)

  it("shares connections evenly among four workers, and gives none to one that is stuck", function()
    trials.shares(4, 64, 1)
  end)

  it("ends in time, with a child that ignores TERM, one that hides and a client that reads nothing", function()
    trials.stops(1)
  end)
end)
