package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeService is a service whose status is set by the test.
type fakeService struct {
	mu       sync.Mutex
	status   Status
	change   chan struct{}
	released []string
}

func (s *fakeService) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *fakeService) Metrics() Metrics { return Metrics{} }

func (s *fakeService) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change
}

func (s *fakeService) Release(device string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = append(s.released, device)
	return device == "kbd0"
}

// set changes the status.
func (s *fakeService) set(st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = st
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

// start is a server and a client of it.
func start(t *testing.T) (*fakeService, *Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	service := &fakeService{}
	s, err := Start(path, service, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return service, NewClient(path), path
}

func TestStatusNamesThePrograms(t *testing.T) {
	service, client, _ := start(t)
	service.set(Status{Version: Version, Devices: []Device{{Name: "kbd0", Holders: []Holder{
		{PID: uint32(unix.Gettid()), Since: time.Unix(1, 0).UTC(), Mode: "set 1", Unread: 3},
		{PID: 1<<31 - 1, Since: time.Unix(2, 0).UTC()},
	}}}})
	st, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	comm, _ := os.ReadFile("/proc/self/comm")
	holders := st.Devices[0].Holders
	if h := holders[0]; h.PID != uint32(os.Getpid()) || h.Command+"\n" != string(comm) || h.Unread != 3 || h.Since.Unix() != 1 {
		t.Errorf("this program is %+v", h)
	}
	if h := holders[1]; h.Command != "" {
		t.Errorf("a program that is gone is %+v", h)
	}
}

func TestWatchGivesThePresentThenEachChange(t *testing.T) {
	service, client, _ := start(t)
	service.set(Status{Terminal: 1})
	want := 1
	for st, err := range client.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if st.Terminal != want {
			t.Fatalf("got state %d, want %d", st.Terminal, want)
		}
		if want++; want == 4 {
			return
		}
		service.set(st)                     // no change
		service.set(Status{Terminal: want}) // one
	}
}

func TestWatchEndsWithTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	s, err := Start(path, &fakeService{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range NewClient(path).Watch(t.Context()) {
		if last = err; err == nil {
			s.Close()
		}
	}
	if !errors.Is(last, io.ErrUnexpectedEOF) {
		t.Errorf("the watch ended with %v", last)
	}
}

func TestSlowWatcherMissesStatesButNotTheNewest(t *testing.T) {
	service, client, _ := start(t)
	big := func(n int) Status {
		return Status{Terminal: n, Keyboards: []Keyboard{{Name: strings.Repeat("x", 100_000)}}}
	}
	const last = 1000 // times 100 kB: more than a socket holds
	service.set(big(0))
	seen := 0
	for st, err := range client.Watch(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 1 {
			for n := 1; n <= last; n++ { // nobody waits for us, who do not read
				service.set(big(n))
			}
		}
		if st.Terminal == last {
			break
		}
	}
	if seen > last/2 {
		t.Errorf("the slow watcher was sent %d states of %d", seen, last)
	}
}

func TestWatchersAreCounted(t *testing.T) {
	_, client, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching sync.WaitGroup
	for range maxWatchers {
		watching.Add(1)
		go func() {
			for range client.Watch(ctx) {
				if ctx.Err() == nil {
					watching.Done()
				}
			}
		}()
	}
	watching.Wait()
	for _, err := range client.Watch(t.Context()) {
		if err == nil || !strings.Contains(err.Error(), "too many watch") {
			t.Fatalf("one more got %v", err)
		}
	}
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("with all watchers there, status: %v", err)
	}
	cancel()
	for { // until one's place is seen to be free
		for _, err := range client.Watch(t.Context()) {
			if err == nil {
				return
			}
		}
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	_, client, path := start(t)
	var idle []net.Conn
	for range maxConnections {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	if _, err := client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "too many programs") {
		t.Errorf("one more got %v", err)
	}
	for _, c := range idle {
		c.Close()
	}
	for { // until the server has seen that
		if _, err := client.Status(t.Context()); err == nil {
			return
		}
	}
}

func TestReleaseTakesADevice(t *testing.T) {
	service, client, _ := start(t)
	if err := client.Release(t.Context(), "kbd0"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"kbd7", "../x", "a b"} {
		if err := client.Release(t.Context(), name); err == nil || err.Error() != "there is no device /dev/"+name {
			t.Errorf("release of %q: %v", name, err)
		}
	}
	if got := strings.Join(service.released, ","); got != "kbd0,kbd7,../x,a b" {
		t.Errorf("the service was told to release %s", got)
	}
}

func TestOnlyWhatExistsIsAnswered(t *testing.T) {
	_, client, _ := start(t)
	for request, want := range map[string]int{
		"GET /v1/status":                http.StatusOK,
		"GET /v2/status":                http.StatusNotFound,
		"POST /v1/status":               http.StatusMethodNotAllowed,
		"GET /v1/devices/kbd0/release":  http.StatusMethodNotAllowed,
		"POST /v1/devices/kbd0/release": http.StatusNoContent,
	} {
		method, path, _ := strings.Cut(request, " ")
		answer, err := client.exchange(t.Context(), method, path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s", request, answer.Status)
		}
	}
}

func TestSocketIsForRootAndTheGroup(t *testing.T) {
	_, _, path := start(t)
	for path, want := range map[string]os.FileMode{path: os.ModeSocket | 0o660, filepath.Dir(path): os.ModeDir | 0o755} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("beside the socket there is %v", entries)
	}
}

func TestSocketOfADeadServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("a dead server answers %v", err)
	}
	s, err := Start(path, &fakeService{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
	s.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket outlives its server")
	}
}

func TestSocketOfALivingServerIsLeft(t *testing.T) {
	_, client, path := start(t)
	if _, err := Start(path, &fakeService{}, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "another kbdd listens there") {
		t.Errorf("a second server: %v", err)
	}
	if _, err := client.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSocketOfASuccessorIsLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	quiet := slog.New(slog.DiscardHandler)
	old, err := Start(path, &fakeService{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	os.Rename(path, filepath.Join(dir, "away")) // so that nobody seems to listen
	successor, err := Start(path, &fakeService{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	old.Close()
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "none")).Status(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "no such file or directory: is kbdd running?") {
		t.Errorf("without a server: %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "http") {
		t.Errorf("speaks of HTTP: %v", err)
	}
}
