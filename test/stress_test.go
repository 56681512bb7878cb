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
// readers more, the pacers, have their keys; how fast that was is logged.
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
	read     [2]atomic.Int64 // how many of the typed bytes the pacers have
}

// typeUntil types two keys at a time, which may overlap, and never faster than it should. What the machine is too slow for
// is not made up.
func (k *typist) typeUntil(end time.Time) {
	for time.Now().Before(end) {
		next := time.Now().Add(2 * k.period)
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
func pace(d *descriptor, pacer int, typists []*typist) {
	for buf := make([]byte, []int{256, 1}[pacer]); !bytes.Contains(buf, lastKeys[0].release()); {
		n, err := uninterrupted(func() (int, error) { return unix.Read(d.fd, buf) })
		if err != nil {
			return // the typists will wait in vain, and readers miss keys
		}
		for _, k := range typists {
			k.read[pacer].Add(int64(len(k.heard(buf[:n]))))
		}
	}
}

func (k *typist) press(key stressKey) {
	k.keyboard.Press(machine.Key(key))
	k.typed = append(k.typed, key.press()...)
}

func (k *typist) release(key stressKey) {
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

// check tells what is wrong with what a reader has heard of the typist: all of it, or for one who came late what was typed
// since, but for the releases of keys that were down.
func (k *typist) check(stream []byte, late bool) error {
	heard := k.heard(stream)
	if !late {
		if !bytes.Equal(heard, k.typed) {
			return fmt.Errorf("%d bytes were typed, %d were read: %w", len(k.typed), len(heard), differ(heard, k.typed))
		}
		return nil
	}
	const heldAtMost = 2
	for missed := range heldAtMost + 1 {
		if from := len(k.typed) - len(heard) - missed; from >= 0 && bytes.Equal(withoutLooseBreaks(k.typed[from:]), heard) {
			return nil
		}
	}
	return fmt.Errorf("%d bytes were read, which are not the last of the %d that were typed", len(heard), len(k.typed))
}

// differ tells where two streams begin to differ.
func differ(got, want []byte) error {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("from byte %d on % x, want % x", i, got[i:min(i+10, len(got))], want[i:min(i+10, len(want))])
		}
	}
	return fmt.Errorf("they are alike for as long as the shorter one goes")
}

// withoutLooseBreaks leaves out the breaks that have no make before them.
func withoutLooseBreaks(stream []byte) (rest []byte) {
	var down [128]bool
	for _, b := range stream {
		if b&0x80 == 0 || down[b&0x7f] {
			rest = append(rest, b)
			down[b&0x7f] = b&0x80 == 0
		}
	}
	return rest
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
		pacing.Go(func() { pace(d, i, typists) })
	}
	var crews []*victim
	for range steadyCrews + killedCrews {
		crews = append(crews, startCrew(t))
	}

	begin := time.Now()
	var typing sync.WaitGroup
	for _, k := range typists {
		typing.Go(func() { k.typeUntil(begin.Add(length)) })
	}
	late := killAndRestart(t, crews[steadyCrews:], chances(99), begin.Add(length))
	typing.Wait()
	took := time.Since(begin)

	machine.WaitUntil(t, "only the reads that wait for keys are waiting", func() bool { return waiting(t) == 2+blockingReaders*len(crews) })
	for i, k := range typists {
		k.keyboard.Tap(machine.Key(lastKeys[i]))
	}
	pacing.Wait()
	for i, v := range crews {
		checkCrew(t, v, typists, i >= steadyCrews && late[i-steadyCrews])
	}
	machine.WaitUntil(t, "no request is unanswered", func() bool { return waiting(t) == 0 })
	used := peakMemory(t, kbdd.cmd.Process.Pid)
	if used > 32<<20 {
		t.Errorf("kbdd has used %d KiB, more than 32 MiB", used>>10)
	}
	keys := (len(typists[0].typed) + len(typists[1].typed)) / 2
	t.Logf("%d keys in %v, %.0f a second on each keyboard; kbdd has used %d KiB", keys, took, float64(keys)/2/took.Seconds(), used>>10)
}

// killAndRestart kills crews at random and starts others in their place. It tells which were.
func killAndRestart(t testing.TB, crews []*victim, chances *rand.Rand, end time.Time) (late []bool) {
	t.Helper()
	late = make([]bool, len(crews))
	for time.Now().Before(end) {
		time.Sleep(time.Duration(chances.IntN(500)) * time.Millisecond)
		i := chances.IntN(len(crews))
		crews[i].kill()
		crews[i], late[i] = startCrew(t), true
	}
	return late
}

// checkCrew checks what each of a crew's files has read.
func checkCrew(t testing.TB, v *victim, typists []*typist, late bool) {
	t.Helper()
	for range crewSize {
		digits, failure, _ := strings.Cut(result(t, v.lines), " ")
		stream, err := hex.DecodeString(digits)
		if err != nil || failure != "<nil>" {
			t.Errorf("a reader says %s, %v", failure, err)
			continue
		}
		if overruns := bytes.Count(stream, []byte{0xff}); overruns > 0 {
			t.Errorf("a reader was overrun %d times: the machine is too slow for this rate", overruns)
			continue
		}
		for _, k := range typists {
			if err := k.check(stream, late); err != nil {
				t.Error(err)
			}
		}
	}
	v.kill()
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
