package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"
)

// A Service is what is looked into. kbd.Service is one.
type Service interface {
	Status() Status // its holders have no Command, and for PID the thread that opened
	Metrics() Metrics
	// Changed gives a channel that is closed when Status has something new. What only counts up is not new.
	Changed() <-chan struct{}
	// Release takes a device from those who have it open. It is false if there is no device of that name.
	Release(device string) bool
}

// What a server bears.
const (
	maxConnections = 64
	maxWatchers    = 16
	maxHeader      = 8 << 10
	maxBody        = 1 << 10

	requestLimit = 5 * time.Second  // for a request to come
	answerLimit  = 10 * time.Second // for an answer, or a line of one who watches, to go
	idleLimit    = 10 * time.Second // between two requests
)

// A Server answers at a socket.
type Server struct {
	service Service
	log     *slog.Logger
	http    http.Server

	connections atomic.Int32
	watchers    chan struct{} // has a token for each who watches
}

// Start listens at the path, and answers until Close. The socket is for root and the group input, if there is one.
func Start(path string, service Service, log *slog.Logger) (*Server, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := newServer(service, log)
	go s.http.Serve(l) // it returns with Close
	return s, nil
}

func newServer(service Service, log *slog.Logger) *Server {
	s := &Server{service: service, log: log, watchers: make(chan struct{}, maxWatchers)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.getStatus)
	mux.HandleFunc("GET /v1/watch", s.watch)
	mux.HandleFunc("POST /v1/devices/{name}/release", s.release)
	mux.HandleFunc("GET /metrics", s.metrics)
	s.http = http.Server{
		Handler:           http.MaxBytesHandler(mux, maxBody),
		MaxHeaderBytes:    maxHeader,
		ReadTimeout:       requestLimit,
		ReadHeaderTimeout: requestLimit,
		WriteTimeout:      answerLimit,
		IdleTimeout:       idleLimit,
		ConnState:         s.count,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Close ends all connections and takes the socket away.
func (s *Server) Close() error { return s.http.Close() }

// count turns away connections that are too many.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.connections.Add(1) > maxConnections {
			c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.connections.Add(-1)
	}
}

// status is what the service says, with the names of the programs.
func (s *Server) status() Status {
	st := s.service.Status()
	for _, d := range st.Devices {
		for i := range d.Holders {
			h := &d.Holders[i]
			h.PID, h.Command = programOf(h.PID)
		}
	}
	return st
}

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.status())
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		refuse(w, http.StatusServiceUnavailable, "too many watch already: %d", maxWatchers)
		return
	}
	conn := http.NewResponseController(w)
	conn.SetReadDeadline(time.Time{}) // the request is over, the connection is not
	w.Header().Set("Content-Type", "application/jsonl")
	var last []byte
	for {
		changed := s.service.Changed() // before the look: what changes behind it is not missed
		line, err := json.Marshal(s.status())
		if err != nil {
			return
		}
		if !bytes.Equal(line, last) {
			last = line
			conn.SetWriteDeadline(time.Now().Add(answerLimit))
			w.Write(append(line, '\n'))
			if conn.Flush() != nil {
				return
			}
			conn.SetWriteDeadline(time.Time{}) // no timer runs while nothing happens
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !s.service.Release(name) {
		refuse(w, http.StatusNotFound, "there is no device /dev/%s", name)
		return
	}
	s.log.Info("device is taken from its holders by order", "device", name)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	m := s.service.Metrics()
	m.Goroutines = runtime.NumGoroutine()
	m.writeTo(w)
}

// A refusal is the body of an answer that is an error.
type refusal struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(refusal{fmt.Sprintf(format, args...)})
}
