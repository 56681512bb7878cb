// Package control looks into kbdd and gives it orders, over a unix socket: the types, the server, the client. It does not
// know how a keyboard works: what it asks of kbdd is [Service].
//
//	GET  /v1/status                   a Status
//	GET  /v1/watch                    a Status a line: the present one, then one for each change
//	POST /v1/devices/{name}/release   takes a device from those who have it open
//	GET  /metrics                     the Metrics, in Prometheus' text format
//
// All but the metrics is JSON. What is called v1 keeps its fields; others may be added. An error has the HTTP status that
// fits, and a sentence as {"error": "..."}.
//
// The server costs nothing while nobody is connected. It bears at most maxConnections, of them maxWatchers that watch.
// A watcher that reads slowly misses states, but never the newest, and nobody waits for it.
package control
