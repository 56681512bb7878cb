package test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/kbd/atkbd"
	"kbdd/test/machine"
)

// What TestStreamsAreCompleteUnderStress does can be set: how long it types (KBDD_STRESS), how many keys a second on each of
// the two keyboards (KBDD_STRESS_RATE), and its chances (KBDD_STRESS_SEED).
//
// Under emulation, one byte that one reader reads costs the machine half a millisecond and more; 64 readers keep it busy at
// some 20 keys a second from each keyboard, and 200 take an accelerated machine. What a machine is too slow for the kernel
// would drop before kbdd has seen it, and readers of single bytes would be overrun. So the typists go no faster than two
// readers more, the pacers, have their keys. A rate that was asked for must be reached all the same, as it is by make stress.
const (
	stressTime = 8 * time.Second
	stressRate = 20
)

// A stressKey is a key whose scancode in set 1 is its key code.
type stressKey machine.Key

func (k stressKey) press() []byte   { return []byte{byte(k)} }
func (k stressKey) release() []byte { return []byte{byte(k) | 0x80} }

// typistKeys are those of the first keyboard and those of the second; lastKeys, which are not among them, what they end with.
var (
	typistKeys = [2][]stressKey{{16, 17, 18, 19, 20, 21, 22, 23, 24, 25}, {30, 31, 32, 33, 34, 35, 36, 37, 38}}
	lastKeys   = [2]stressKey{59, 60}
)

// A typist types keys on a keyboard of its own, and knows what comes of them.
type typist struct {
	keyboard *machine.Uinput
	keys     []stressKey
	chances  *rand.Rand
	period   time.Duration
	typed    []byte
	begun    atomic.Int64    // how many bytes were typed or are being typed
	read     [2]atomic.Int64 // how many of the typed bytes the pacers have
}

// typeUntil types two keys at a time, which may overlap. What it had to wait for is made up, but by going a quarter faster at
// most: all at once would be another test.
func (k *typist) typeUntil(end time.Time) {
	due := time.Now()
	for time.Now().Before(end) {
		due = due.Add(2 * k.period)
		next := time.Now().Add(2 * k.period * 4 / 5)
		if next.Before(due) {
			next = due
		}
		first := k.chances.IntN(len(k.keys))
		second := (first + 1 + k.chances.IntN(len(k.keys)-1)) % len(k.keys)
		a, b := k.keys[first], k.keys[second]
		k.press(a)
		if k.chances.IntN(2) == 0 {
			k.release(a)
			k.press(b)
		} else {
			k.press(b)
			k.release(a)
		}
		k.release(b)
		time.Sleep(time.Until(next))
		for giveUp := time.Now().Add(machine.Limit); k.tooFast() && time.Now().Before(giveUp); {
			time.Sleep(time.Millisecond)
		}
	}
}

// tooFast tells if a pacer is behind, by half of what evdev holds or half of what a file's queue holds.
func (k *typist) tooFast() bool {
	behind := func(pacer int) int { return len(k.typed) - int(k.read[pacer].Load()) }
	return behind(0) > 16 || behind(1) > atkbd.QueueSize/4 // there are two keyboards
}

// pace reads, and tells the typists how far it is. The first pacer takes what there is; the second a byte at a time, which is
// the slowest way to read.
func pace(d *descriptor, pacer int, typists []*typist) error {
	for buf := make([]byte, []int{256, 1}[pacer]); !bytes.Contains(buf, lastKeys[0].release()); {
		n, err := uninterrupted(func() (int, error) { return unix.Read(d.fd, buf) })
		if err != nil {
			return err // the typists will wait in vain
		}
		for _, k := range typists {
			k.read[pacer].Add(int64(len(k.heard(buf[:n]))))
		}
	}
	return nil
}

func (k *typist) press(key stressKey) {
	k.begun.Add(1)
	k.keyboard.Press(machine.Key(key))
	k.typed = append(k.typed, key.press()...)
}

func (k *typist) release(key stressKey) {
	k.begun.Add(1)
	k.keyboard.Release(machine.Key(key))
	k.typed = append(k.typed, key.release()...)
}

// heard are the codes of the typist's keys in a stream.
func (k *typist) heard(stream []byte) (own []byte) {
	for _, b := range stream {
		if slices.Contains(k.keys, stressKey(b&0x7f)) {
			own = append(own, b)
		}
	}
	return own
}

// parameter is what an environment variable says, or else a default.
func parameter[T any](t testing.TB, name string, usual T, parse func(string) (T, error)) T {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return usual
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

func TestStreamsAreCompleteUnderStress(t *testing.T) {
	machine.Require(t)
	length := parameter(t, "KBDD_STRESS", stressTime, time.ParseDuration)
	rate := parameter(t, "KBDD_STRESS_RATE", stressRate, strconv.Atoi)
	seed := parameter(t, "KBDD_STRESS_SEED", int(time.Now().UnixNano()), strconv.Atoi)
	defer func() {
		if t.Failed() {
			t.Logf("again with KBDD_STRESS_SEED=%d", seed)
		}
	}()
	chances := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), n)) }

	machine.OpenConsole(t, 1)
	var typists []*typist
	for i, keys := range typistKeys {
		keyboard := machine.NewUinput(t, machine.UinputConfig{Name: fmt.Sprint("keyboard ", i)})
		period := time.Second / time.Duration(rate)
		typists = append(typists, &typist{keyboard: keyboard, keys: keys, chances: chances(uint64(i)), period: period})
	}
	kbdd := startKbdd(t)
	var pacing sync.WaitGroup
	for i := range 2 {
		d := openDescriptor(t, os.O_RDONLY)
		pacing.Go(func() {
			if err := pace(d, i, typists); err != nil {
				t.Errorf("pacer %d: %v", i, err)
			}
		})
	}
	var crews []*crew
	for range steadyCrews + killedCrews {
		crews = append(crews, &crew{victim: startCrew(t)})
	}

	begin := time.Now()
	var typing sync.WaitGroup
	for _, k := range typists {
		typing.Go(func() { k.typeUntil(begin.Add(length)) })
	}
	killAndRestart(t, crews[steadyCrews:], typists, chances(99), begin.Add(length))
	typing.Wait()
	took := time.Since(begin)

	machine.WaitUntil(t, "only the reads that wait for keys are waiting", func() bool { return waiting(t) == 2+blockingReaders*len(crews) })
	for i, k := range typists {
		k.keyboard.Tap(machine.Key(lastKeys[i]))
	}
	pacing.Wait()
	for _, c := range crews {
		checkCrew(t, c, typists)
	}
	machine.WaitUntil(t, "no request is unanswered", func() bool { return waiting(t) == 0 })
	used := peakMemory(t, kbdd.cmd.Process.Pid)
	if used > 32<<20 {
		t.Errorf("kbdd has used %d KiB, more than 32 MiB", used>>10)
	}
	for i, k := range typists {
		keys, asked := len(k.typed)/2, int(length.Seconds()*float64(rate))
		t.Logf("keyboard %d: %d keys in %v, %.0f a second", i, keys, took, float64(keys)/took.Seconds())
		if least := leastKeys(asked); keys < least {
			t.Errorf("keyboard %d has typed %d keys of %d, want %d at least", i, keys, asked, least)
		}
	}
	t.Logf("kbdd has used %d KiB", used>>10)
}

// leastKeys is how many keys must be typed for the test to have tested anything: nearly all if somebody asked for a rate, and
// else few, since nobody knows the machine.
func leastKeys(asked int) int {
	if _, ok := os.LookupEnv("KBDD_STRESS_RATE"); ok {
		return asked * 98 / 100
	}
	return asked / 10
}

// A crew may be one that was started again.
type crew struct {
	*victim
	late  bool
	there [2]int // before which byte of each typist it was there, if it is late
}

// killAndRestart kills crews at random and starts others in their place.
func killAndRestart(t testing.TB, crews []*crew, typists []*typist, chances *rand.Rand, end time.Time) {
	t.Helper()
	for time.Now().Before(end) {
		time.Sleep(time.Duration(chances.IntN(500)) * time.Millisecond)
		c := crews[chances.IntN(len(crews))]
		c.kill()
		c.victim, c.late = startCrew(t), true
		for i, k := range typists {
			c.there[i] = int(k.begun.Load())
		}
	}
}

// checkCrew checks what each of a crew's files has read.
func checkCrew(t testing.TB, c *crew, typists []*typist) {
	t.Helper()
	for range crewSize {
		digits, failure, _ := strings.Cut(result(t, c.lines), " ")
		stream, err := hex.DecodeString(digits)
		if err != nil || failure != "<nil>" {
			t.Errorf("a reader says %s, %v", failure, err)
			continue
		}
		if overruns := bytes.Count(stream, []byte{0xff}); overruns > 0 {
			t.Errorf("a reader was overrun %d times: the machine is too slow for this rate", overruns)
			continue
		}
		for i, k := range typists {
			if err := k.check(stream, c.late, c.there[i]); err != nil {
				t.Error(err)
			}
		}
	}
	c.kill()
}

// waiting is how many requests of the device are not answered.
func waiting(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/sys/class/cuse/kbd0/waiting")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// peakMemory is the most that a process has had in memory, in bytes.
func peakMemory(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(cmp.Or(rest, "?"))[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
