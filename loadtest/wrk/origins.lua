-- GET requests of pages from many origins, in random order.
--
-- Usage: wrk -t1 -c64 -d10s --latency -s origins.lua http://HOST/PATH -- [COUNT] [ORIGIN]
--
-- COUNT:  how many origins; 1000 unless given.
-- ORIGIN: with %d for the number, which begins at 0; https://o%d.example.com unless given.

local requests = {}

function init(args)
  math.randomseed(os.time())
  local count = tonumber(args[1] or 1000)
  local origin = args[2] or "https://o%d.example.com"
  for n = 1, count do
    wrk.headers["Origin"] = origin:format(n - 1)
    requests[n] = wrk.format()
  end
end

function request()
  return requests[math.random(#requests)]
end
