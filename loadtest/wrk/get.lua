-- GET requests, with an Origin or without one.
--
-- Usage: wrk -t1 -c64 -d10s --latency -s get.lua http://HOST/PATH -- [ORIGIN] [close]
--
-- ORIGIN: the page's origin; without it, or where it is "-", the header is not sent.
-- close:  a connection for each request.

function init(args)
  if args[1] and args[1] ~= "-" then
    wrk.headers["Origin"] = args[1]
  end
  if args[2] == "close" then
    wrk.headers["Connection"] = "close"
  end
end
