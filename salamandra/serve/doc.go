// Package serve answers HTTP requests with a model: queries to JSON at /parse,
// and OpenAI's chat completions at /v1/chat/completions, which existing clients
// speak. A [Server] is an http.Handler for a mux of one's own; [Server.Serve]
// listens by itself.
//
// # Endpoints
//
//	POST /parse                {"query", "language"}; the answer is the JSON that the model writes
//	POST /v1/chat/completions  messages, sampling, stop, stream, response_format
//	GET  /v1/models            the models that requests may name
//	POST /admin/adapter        puts an adapter in the place of another; off without [Options].AdaptersDir
//	GET  /healthz /readyz      whether the process lives, and whether it takes requests
//	GET  /metrics              in Prometheus' text format
//	GET  /openapi.yaml         the description of all this
//	GET  /                     a page to type queries into
//
// Errors are JSON in OpenAI's shape, on every endpoint.
//
// # What it guards against
//
// Answers to /parse keep to the schema of the model's contract, schemas of
// clients to limits of size and time. Requests that browsers send for pages of
// other sites are refused: the Host must be known, the body declared as JSON,
// and there is no CORS. Body, prompt, answer, queue and time have limits; a
// client that goes away frees its place. Keys are compared in constant time;
// neither they nor queries are logged.
//
// It is not a load balancer, keeps no conversations, and has no TLS: behind the
// machine's edge a reverse proxy does that.
package serve
