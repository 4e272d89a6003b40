-- GET requests to many paths, in random order.
--
-- Usage: wrk -t1 -c64 -d10s --latency -s routes.lua http://HOST/ -- [COUNT] [PATH] [ORIGIN]
--
-- COUNT:  how many paths; 10000 unless given.
-- PATH:   with %d for the number, which begins at 0; /api/r%d/7 unless given.
-- ORIGIN: the page's origin; https://app.example.com unless given.

local requests = {}

function init(args)
  math.randomseed(os.time())
  local count = tonumber(args[1] or 10000)
  local path = args[2] or "/api/r%d/7"
  wrk.headers["Origin"] = args[3] or "https://app.example.com"
  for n = 1, count do
    requests[n] = wrk.format("GET", path:format(n - 1))
  end
end

function request()
  return requests[math.random(#requests)]
end
