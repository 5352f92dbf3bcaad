return function() return 2, "later" end
