package cuse

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestNothingIsLostWhereverTheServerDies has clients do what they can at random, with servers that live short: each dies at
// some moment at which it sends something, or notes something, or in between. Each request gets one answer, each file its
// bytes in their order, and whoever polls hears of them.
func TestNothingIsLostWhereverTheServerDies(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			l := newLives(t, seed)
			for range 300 {
				l.step()
			}
			l.end()
		})
	}
}

// lives are servers one after the other, and what their clients did and got.
type lives struct {
	*keptRig
	chances *rand.Rand
	asked   map[uint64]request
	files   map[uint64]*client // that are open, by fh
	moments int                // of this life, before its end; < 0: it ends otherwise
}

// A request is not answered yet.
type request struct {
	opcode      uint32
	fh          uint64
	noWait      bool // O_NONBLOCK
	interrupted bool
	mode        byte // that a write sets
}

// A client has a file open.
type client struct {
	given   byte // the next byte that is put into the file
	got     byte // the next one that is to be read
	polling bool // it waits to hear that there is something
	mode    byte // as was last set
	sets    byte // as it may be: a write is not answered, or has been interrupted
}

func newLives(t *testing.T, seed uint64) *lives {
	l := &lives{
		keptRig: newKeptRig(t), chances: rand.New(rand.NewPCG(seed, 1)),
		asked: map[uint64]request{}, files: map[uint64]*client{},
	}
	l.begin()
	return l
}

// begin decides how this life ends.
func (l *lives) begin() {
	l.moments = l.chances.IntN(40) - 10
	if l.moments >= 0 {
		l.kernel.kills = func(moment) bool {
			l.moments--
			return l.moments < 0
		}
	}
}

func (l *lives) dead() bool { return l.kernel.left != nil }

func (l *lives) chance(n int) bool { return l.chances.IntN(n) == 0 }

func (l *lives) step() {
	fh, isOpen := l.file()
	switch n := l.chances.IntN(20); {
	case n < 2 && len(l.files) < 5 || !isOpen:
		l.call(request{opcode: opOpen}, body(fuse.OpenIn{}))
	case n < 8:
		r := request{opcode: opRead, fh: fh, noWait: l.chance(3)}
		in := fuse.ReadIn{Fh: fh, Size: uint32(1 + l.chances.IntN(3))}
		if r.noWait {
			in.Flags = unix.O_NONBLOCK
		}
		l.call(r, body(in))
	case n == 8 && !l.isUsed(fh):
		l.call(request{opcode: opRelease, fh: fh}, body(fuse.ReleaseIn{Fh: fh}))
	case n < 11:
		in := pollIn{Fh: fh, Kh: fh, PollFlags: pollScheduleNotify, Events: unix.POLLIN}
		l.call(request{opcode: opPoll, fh: fh}, body(in))
	case n == 11:
		r := request{opcode: opWrite, fh: fh, mode: byte(l.chances.IntN(256))}
		l.files[fh].sets = r.mode
		l.call(r, append(body(fuse.WriteIn{Fh: fh, Size: 1}), r.mode))
	case n < 14:
		l.interrupt()
	default:
		l.put(fh)
	}
	if l.dead() || l.moments < 0 && l.chance(20) {
		l.restart()
	}
}

// call makes a request. The server may die when it has read it, and when it has dispatched it.
func (l *lives) call(r request, msg []byte) {
	unique := l.receive(r.opcode, msg)
	l.asked[unique] = r
	l.see()
}

// see has the server see to what it has read, or a part of that.
func (l *lives) see() {
	l.moment()
	if l.dead() {
		return
	}
	// An open or a release may end before the server has seen the request through, and after.
	ahead := l.chance(2)
	gate := make(chan struct{})
	l.gate = gate
	for _, w := range l.keptRig.files {
		w.gate = gate
	}
	l.dispatch()
	if ahead {
		close(gate)
		l.finish()
		l.moment()
	}
	if !l.dead() {
		l.seeThrough()
	}
	l.moment()
	if !ahead {
		close(gate)
		l.finish()
	}
	l.hear()
}

func (l *lives) moment() { l.kernel.pass(moment{}) }

func (l *lives) file() (fh uint64, ok bool) {
	all := slices.Sorted(maps.Keys(l.files))
	if len(all) == 0 {
		return 0, false
	}
	return all[l.chances.IntN(len(all))], true
}

// isUsed tells if a call is under way that holds the file open.
func (l *lives) isUsed(fh uint64) bool {
	for _, r := range l.asked {
		if r.fh == fh {
			return true
		}
	}
	return false
}

// interrupt gives a signal to a thread that waits in read(2).
func (l *lives) interrupt() {
	for _, unique := range slices.Sorted(maps.Keys(l.asked)) {
		r := l.asked[unique]
		if r.opcode == opRead && !r.interrupted {
			r.interrupted = true
			l.asked[unique] = r
			l.receive(opInterrupt, body(fuse.InterruptIn{Unique: unique}))
			l.see()
			return
		}
	}
}

// put has bytes come. Those that come as the server dies, and that it has not noted, are nobody's.
func (l *lives) put(fh uint64) {
	for _, w := range l.keptRig.files {
		if w.fh != fh {
			continue
		}
		c := l.files[fh]
		given := c.given
		for range 1 + l.chances.IntN(3) {
			w.data = append(w.data, given)
			given++
		}
		before := l.moments
		w.Wake()
		if !l.dead() || before != 0 {
			c.given = given
		}
		l.hear()
	}
}

// restart has the server die, if it has not, and another go on.
func (l *lives) restart() {
	l.t.Helper()
	l.keptRig = l.die(func(next *keptRig) {
		mapRecord(next.kernel.mem).settled() // as after a while
		next.onRestored = l.check
	})
	l.finish()
	l.hear()
	l.begin()
}

// check looks at a file that was restored.
func (l *lives) check(w *keptWell) {
	c := l.files[w.fh]
	if c == nil { // its open is not answered
		return
	}
	if w.mode != c.mode && w.mode != c.sets {
		l.t.Fatalf("the mode of file %d is %d, want %d or %d", w.fh, w.mode, c.mode, c.sets)
	}
	c.mode, c.sets = w.mode, w.mode
}

// hear takes the answers.
func (l *lives) hear() {
	l.t.Helper()
	for header, out := l.answer(); header != nil; header, out = l.answer() {
		if header.Unique == 0 {
			if c := l.files[*view[uint64](out)]; c != nil {
				c.polling = false
			}
			continue
		}
		r, ok := l.asked[header.Unique]
		if !ok {
			l.t.Fatalf("request %d is answered, and was not asked or is answered twice", header.Unique)
		}
		delete(l.asked, header.Unique)
		errno := unix.Errno(-header.Status)
		switch {
		case errno == 0:
			l.got(r, out)
		case errno == unix.EINTR && (r.interrupted || r.opcode == opWrite):
		case errno == unix.EAGAIN && r.noWait:
		default:
			l.t.Fatalf("request %d %+v is answered with %v", header.Unique, r, errno)
		}
	}
}

// got is what a call gives that succeeds.
func (l *lives) got(r request, out []byte) {
	l.t.Helper()
	c := l.files[r.fh]
	switch r.opcode {
	case opOpen:
		l.files[*view[uint64](out)] = new(client)
	case opRelease:
		delete(l.files, r.fh)
	case opPoll:
		c.polling = view[pollOut](out).Revents&unix.POLLIN == 0
	case opWrite:
		c.mode, c.sets = r.mode, r.mode
	case opRead:
		for _, b := range out {
			if b != c.got {
				l.t.Fatalf("file %d gives byte %d, want %d", r.fh, b, c.got)
			}
			c.got++
		}
	}
}

// end has the last server live, and everything be answered.
func (l *lives) end() {
	l.restart()
	l.kernel.kills = nil
	l.moments = -1
	for fh := range l.files {
		for n := 0; l.isUsed(fh) || l.files[fh].polling; n++ {
			if n > 1000 {
				l.t.Fatalf("a call for file %d is never answered", fh)
			}
			l.put(fh)
		}
		for c := l.files[fh]; c.got != c.given; {
			l.call(request{opcode: opRead, fh: fh}, readOf(fh, 9))
			if l.isUsed(fh) {
				l.t.Fatalf("file %d has lost the bytes from %d to %d", fh, c.got, c.given)
			}
		}
	}
	if len(l.asked) > 0 {
		l.t.Errorf("never answered: %v", l.asked)
	}
	l.wantFiles(len(l.files))
}
