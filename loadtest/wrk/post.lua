-- POST requests with a body.
--
-- Usage: wrk -t1 -c64 -d10s --latency -s post.lua http://HOST/PATH -- [ORIGIN] [BYTES]
--
-- ORIGIN: the page's origin; https://app.example.com unless given.
-- BYTES:  of the body; 16384 unless given.

function init(args)
  wrk.method = "POST"
  wrk.body = string.rep("x", tonumber(args[2] or 16384))
  wrk.headers["Origin"] = args[1] or "https://app.example.com"
  wrk.headers["Content-Type"] = "application/octet-stream"
end
