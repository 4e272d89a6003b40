-- Random methods, hosts, paths and origins: what must not fill a proxy's memory.
-- Most answers are errors, as they should be.
--
-- Usage: wrk -t1 -c32 -d10s -s random.lua http://HOST/
--
-- A seventh of the requests share the origin https://often.example.

local methods = { "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "X1", "X2" }

function request()
  local n = math.random(1000000000)
  local method = n % 5 == 0 and "M" .. n % 1000 or methods[n % 8 + 1]
  local path = n % 2 == 0 and "/api/r1/" .. n or "/" .. n .. "/" .. n
  return wrk.format(method, path, {
    ["Host"] = "h" .. n .. ".example",
    ["Origin"] = n % 7 == 0 and "https://often.example" or "https://o" .. n .. ".example",
    ["Access-Control-Request-Method"] = "PUT",
  })
end
