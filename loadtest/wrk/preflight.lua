-- Preflights, as a browser sends them before a PUT of JSON.
--
-- Usage: wrk -t1 -c64 -d10s --latency -s preflight.lua http://HOST/PATH -- [ORIGIN]
--
-- ORIGIN: the page's origin; https://app.example.com unless given.

function init(args)
  wrk.method = "OPTIONS"
  wrk.headers["Origin"] = args[1] or "https://app.example.com"
  wrk.headers["Access-Control-Request-Method"] = "PUT"
  wrk.headers["Access-Control-Request-Headers"] = "content-type"
end
