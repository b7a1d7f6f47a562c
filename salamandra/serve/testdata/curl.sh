# Prints the status of some requests: sh curl.sh URL KEY
command -v curl > /dev/null || exit 3
key="Authorization: Bearer $2" json="Content-Type: application/json"
status() { curl -s -o /dev/null -w '%{http_code}\n' "$@"; }

status "$1/healthz"
status "$1/" -I
status "$1/parse" -H "$key" -H "$json" -d '{"query": "energia solar", "language": "CA"}'
status "$1/parse" -H "$json" -d '{"query": "energia solar"}'
status "$1/parse" -H "$key" -d '{"query": "energia solar"}'
status "$1/parse" -H "$key" -H "$json" -d '{"query": "energia solar", "model": "other"}'
head -c 300000 /dev/zero | tr '\0' a | status "$1/parse" -H "$key" -H "$json" --data-binary @-
curl -sN "$1/v1/chat/completions" -H "$key" -H "$json" \
  -d '{"messages": [{"role": "user", "content": "energia solar"}], "stream": true}' | sed -n 's/^data: \(\[DONE\]\)$/\1/p'
