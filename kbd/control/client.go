package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxAnswer bounds an answer, or a line of one.
const maxAnswer = 4 << 20

// A Client asks a server. Its errors are sentences for the person who asked.
type Client struct {
	path  string
	limit time.Duration // for an answer
}

// NewClient is a client of the server at the path, with no connection yet. It waits 5 s for an answer.
func NewClient(path string) *Client { return &Client{path, 5 * time.Second} }

// Status asks what kbdd is doing.
func (c *Client) Status(ctx context.Context) (st Status, err error) {
	body, err := c.do(ctx, http.MethodGet, "/v1/status")
	if err != nil {
		return st, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&st); err != nil {
		return st, fmt.Errorf("kbdd's answer: %w", explain(err))
	}
	return st, nil
}

// Watch gives the present status, and then one for each change, until ctx ends or kbdd does: then an error, which is
// ctx's own or io.ErrUnexpectedEOF.
func (c *Client) Watch(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		body, err := c.do(ctx, http.MethodGet, "/v1/watch")
		if err != nil {
			yield(Status{}, err)
			return
		}
		defer body.Close()
		body.conn.SetDeadline(time.Time{}) // the next change takes its time
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxAnswer)
		for lines.Scan() {
			var st Status
			if err := json.Unmarshal(lines.Bytes(), &st); err != nil {
				yield(st, fmt.Errorf("kbdd's answer: %w", err))
				return
			}
			if !yield(st, nil) {
				return
			}
		}
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			err = fmt.Errorf("kbdd has ended: %w", io.ErrUnexpectedEOF)
		}
		yield(Status{}, err)
	}
}

// Release takes a device, such as kbd0, from those who have it open.
func (c *Client) Release(ctx context.Context, device string) error {
	body, err := c.do(ctx, http.MethodPost, "/v1/devices/"+url.PathEscape(device)+"/release")
	if err != nil {
		return err
	}
	return body.Close()
}

// Metrics are kbdd's, in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	body, err := c.do(ctx, http.MethodGet, "/metrics")
	if err != nil {
		return "", err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		err = explain(err)
	}
	return string(text), err
}

// do sends a request on a connection of its own, and returns the body of an answer that is no error. http.Client would
// bring TLS with it, and double the size of a small program.
func (c *Client) do(ctx context.Context, method, path string) (*body, error) {
	answer, err := c.exchange(ctx, method, path)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, explain(err)
	case answer.StatusCode < 300:
		return answer.Body.(*body), nil
	}
	defer answer.Body.Close()
	var no refusal
	if json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&no) != nil || no.Error == "" {
		return nil, fmt.Errorf("kbdd answers %s to %s %s", answer.Status, method, path)
	}
	return nil, errors.New(no.Error)
}

func (c *Client) exchange(ctx context.Context, method, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://kbdd"+path, nil)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: c.limit}
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(c.limit)) // a kbdd that hangs takes the connection, and no more
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	answer, err := exchangeOn(conn, r)
	if err != nil {
		stop()
		conn.Close()
		return nil, err
	}
	answer.Body = &body{answer.Body, conn, stop}
	return answer, nil
}

func exchangeOn(conn net.Conn, r *http.Request) (*http.Response, error) {
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(conn), r)
}

// A body is that of an answer, with the connection, which ends with it.
type body struct {
	io.ReadCloser
	conn net.Conn
	stop func() bool
}

func (b *body) Close() error {
	b.stop()
	return b.conn.Close() // what was not read stays unread
}

// explain says what to do about an error of a connection.
func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: is kbdd running?", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root, or as a member of the group input", err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EAGAIN): // EAGAIN: nobody has taken those before
		return fmt.Errorf("kbdd hangs: it has not answered in time: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("kbdd has hung up; it may have ended, or too many programs ask it: %w", err)
	}
	return err
}
