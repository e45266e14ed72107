-- Sends the requests of a file one after the other, from its beginning again at its end. A line has the path, a token or
-- `-`, and the body, with tabs between.

local requests = {}
local at = 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local path, token, body = line:match("^(.-)\t(.-)\t(.*)$")
    local headers = { ["content-type"] = "application/json", ["accept"] = "application/json" }
    if token ~= "-" then headers["authorization"] = "Bearer " .. token end
    requests[#requests + 1] = wrk.format("POST", path, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format('{"requests":%d,"micros":%d,"bytes":%d,"failed":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout,
    latency:percentile(50), latency:percentile(99)))
end
