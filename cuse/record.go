package cuse

import (
	"encoding"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Record is memory in which a [Device] notes all that another process needs to go on with its open files: see
// [Device.Keep] and [Resume]. Whoever keeps the memory (a memfd, say) and a descriptor of /dev/cuse beyond the end of the
// server keeps the device: its clients wait, and notice nothing.
//
//	head   the device's label; the last request that was seen through
//	inbox  the request that was read last
//	slots  one for each open file, in two copies, of which one is valid: the file, and who waits on it
//
// What is noted is right at every moment, so a server may die at any. A request is noted, as the inbox or in a slot,
// until it is answered, and bytes are, until a read has them.
//
// A file whose [File] is an [encoding.BinaryAppender] is kept; others are dead after a change of servers. What AppendBinary
// gives may change in Read, unless that answers ErrWouldBlock, in Write, in Ioctl, and before a Wake. A read of a file that is
// kept gives some 11 KiB at most.
type Record struct {
	head  *recordHead
	inbox []byte
	slots []byte

	mu   sync.Mutex
	used []bool // guarded by mu

	frozen atomic.Bool // by Close: it is another server's
}

const (
	recordVersion = 2 // of the layout
	maxSlots      = 8192
	halfSize      = 16 << 10
	slotSize      = 2 * halfSize
	pageSize      = 4096
	headSize      = (recordHeadSize + pageSize - 1) / pageSize * pageSize
	inboxSize     = (writeInSize + maxTransfer + pageSize - 1) / pageSize * pageSize

	maxLabel = 1024
	// maxTries is how many servers in a row may end with files that they were to go on with, before they have read a
	// request or served for as long as settleTime.
	maxTries   = 3
	settleTime = time.Second
)

// Bounds of what waits on one file, so that it can be noted.
const (
	maxParked = 256
	maxCalls  = 64
)

// maxRefused is how much of an answer can be noted, whoever else waits.
const maxRefused = halfSize - fileRecordSize - maxParked*parkedRecordSize - maxCalls*8

// RecordSize is how much memory a record needs for so many open files, 8192 at most, in bytes. Most of it is never
// touched: a file takes 2 pages of it.
func RecordSize(files int) int { return headSize + inboxSize + min(files, maxSlots)*slotSize }

var (
	errMemory = errors.New("cuse: too little memory for a record")
	errLabel  = fmt.Errorf("cuse: a label has %d bytes at most", maxLabel)
)

var recordMagic = [8]byte{'c', 'u', 's', 'e', 'f', 'i', 'l', 'e'}

// NewRecord makes a record of memory that is all zero, for a device that is known by label to whoever resumes it. When as
// many files are open as it has room for, the next open(2) is ENFILE.
func NewRecord(mem []byte, label string) (*Record, error) {
	if len(mem) < RecordSize(1) {
		return nil, errMemory
	}
	if len(label) > maxLabel {
		return nil, errLabel
	}
	r := mapRecord(mem)
	r.head.Version = recordVersion
	r.setLabel(label)
	r.head.Magic = recordMagic
	return r, nil
}

// OpenRecord finds the record that another server left in mem. It is an error where that is of another version, or has
// been the end of several servers in a row: then the device is to be closed, and a new one made.
func OpenRecord(mem []byte) (*Record, error) {
	if len(mem) < RecordSize(1) {
		return nil, errMemory
	}
	r := mapRecord(mem)
	switch {
	case r.head.Magic != recordMagic || r.head.Version != recordVersion || r.head.LabelLen > maxLabel:
		return nil, errors.New("cuse: no record of this version")
	case r.empty():
		return r, nil // there is nothing that could have been their end
	case r.head.Tries >= maxTries:
		return nil, fmt.Errorf("cuse: %d servers in a row ended with this record", r.head.Tries)
	}
	r.head.Tries++
	return r, nil
}

func mapRecord(mem []byte) *Record {
	return &Record{
		head:  view[recordHead](mem),
		inbox: mem[headSize : headSize+inboxSize],
		slots: mem[headSize+inboxSize:],
		used:  make([]bool, min((len(mem)-headSize-inboxSize)/slotSize, maxSlots)),
	}
}

// setLabel has the record known by another label. To whoever finds it in the middle of that it has none.
func (r *Record) setLabel(label string) {
	atomic.StoreUint32(&r.head.LabelLen, 0)
	atomic.StoreUint32(&r.head.LabelLen, uint32(copy(r.head.Label[:], label)))
}

// Label is what the record was made with, or what Relabel has given it.
func (r *Record) Label() string { return string(r.head.Label[:r.head.LabelLen]) }

// empty tells that no file is open, and no request unseen.
func (r *Record) empty() bool {
	for i := range r.used {
		if r.head.Valid[i] != 0 {
			return false
		}
	}
	return r.unseen() == nil
}

// settled notes that this server is not the end of the record.
func (r *Record) settled() { atomic.StoreUint32(&r.head.Tries, 0) }

// seenThrough notes that the request in the inbox is answered, or noted elsewhere. It is false where that is no longer known.
func (r *Record) seenThrough(unique uint64) bool {
	if r.frozen.Load() {
		return false
	}
	r.settled()
	atomic.StoreUint64(&r.head.Done, unique)
	return true
}

// unseen is the message in the inbox if its server died over it, or nil.
func (r *Record) unseen() []byte {
	n := view[uint32](r.inbox)
	header := view[struct {
		Length, Opcode uint32
		Unique         uint64
	}](r.inbox)
	if int(*n) < inHeaderSize || int(*n) > len(r.inbox) || header.Unique == r.head.Done {
		return nil
	}
	return r.inbox[:*n]
}

// A slot is the place of one open file.
type slot struct {
	record *Record
	number int
	mem    []byte
}

// take finds a free slot.
func (r *Record) take() (*slot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, used := range r.used {
		if !used {
			r.used[i] = true
			return r.slot(i), nil
		}
	}
	return nil, unix.ENFILE
}

func (r *Record) slot(i int) *slot {
	return &slot{record: r, number: i, mem: r.slots[i*slotSize : (i+1)*slotSize : (i+1)*slotSize]}
}

// taken are the slots that another server left in use.
func (r *Record) taken() (slots []*slot) {
	for i := range r.used {
		if s := r.slot(i); *s.valid() != 0 {
			r.used[i] = true
			slots = append(slots, s)
		}
	}
	return slots
}

// valid tells which half holds: 1 or 2, or 0 for a slot that is free.
func (s *slot) valid() *uint32 { return &s.record.head.Valid[s.number] }

func (s *slot) half(n uint32) []byte {
	start := (int(n) - 1) * halfSize
	return s.mem[start : start+halfSize : start+halfSize]
}

func (s *slot) free() {
	if s.record.frozen.Load() {
		return
	}
	atomic.StoreUint32(s.valid(), 0)
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	s.record.used[s.number] = false
}

// State is how far a file is.
type fileState uint32

const (
	opening fileState = iota + 1 // Unique is its open(2), which is not answered
	refused                      // likewise, and the answer is an error, Status
	open                         // Unique is its open(2), which is answered, or is to be without further ado
	closing                      // Unique is its RELEASE, which is not answered
	lost                         // open, but what it is could not be noted
)

// noteLocked brings the record up to date about the file.
func (h *Handle) noteLocked() {
	if h.slot == nil || h.slot.record.frozen.Load() {
		return
	}
	rest := h.noteWaitingLocked()
	if h.state != open {
		h.commitLocked(0, true)
		return
	}
	text, ok := []byte(nil), h.keeper != nil
	if ok {
		var err error
		text, err = h.keeper.AppendBinary(rest[:0:len(rest)])
		ok = err == nil
	}
	if 0 < len(text) && len(text) <= len(rest) && &text[0] != &rest[0] {
		copy(rest, text) // it was not appended in place
	}
	h.commitLocked(len(text), ok)
}

// noteWaitersLocked is noteLocked for when nothing has changed but who waits on the file. What the File is stands in the
// half that holds: that is cheaper to copy than to ask for.
func (h *Handle) noteWaitersLocked() {
	if h.slot == nil || h.slot.record.frozen.Load() {
		return
	}
	valid := *h.slot.valid()
	if valid == 0 {
		h.noteLocked()
		return
	}
	half := h.slot.half(valid)
	in := view[fileRecord](half)
	if fileState(in.State) != open {
		h.noteLocked()
		return
	}
	text := half[fileRecordSize+waitingSize(int(in.Parked), int(in.Calls), int(in.Refused)):][:in.File]
	copy(h.noteWaitingLocked(), text)
	h.commitLocked(len(text), true)
}

// waitingSize is how much room is taken by so many reads and calls, and bytes that were refused.
func waitingSize(parked, calls, refused int) int { return parked*parkedRecordSize + calls*8 + refused }

// nextHalf is the number of the half that does not hold.
func (s *slot) nextHalf() uint32 { return 3 - max(*s.valid(), 1) }

// noteWaitingLocked notes, in the half that does not hold, who waits, and what was refused. It returns the room that is left
// for what the File is.
func (h *Handle) noteWaitingLocked() []byte {
	rest := h.slot.half(h.slot.nextHalf())[fileRecordSize:]
	for _, r := range h.parked {
		*view[parkedRecord](rest) = parkedRecord{Unique: r.unique, Size: uint32(r.size), Thread: r.thread}
		rest = rest[parkedRecordSize:]
	}
	for _, c := range h.calls {
		*view[uint64](rest) = c.unique
		rest = rest[8:]
	}
	return rest[copy(rest, h.refused):]
}

// commitLocked has the half hold in which all has been noted, with so many bytes of the File, if there was room for them. If
// not, or if it is not ok, the file is lost.
func (h *Handle) commitLocked(text int, ok bool) {
	state, next := h.state, h.slot.nextHalf()
	ok = ok && waitingSize(len(h.parked), len(h.calls), len(h.refused))+text <= halfSize-fileRecordSize
	if state == open && !ok {
		state = lost
	}
	r := view[fileRecord](h.slot.half(next)) // all of its fields are set here
	r.State, r.Status, r.Unique, r.Fh = uint32(state), h.status, h.unique, h.fh
	r.UID, r.GID, r.PID, r.Flags = h.UID, h.GID, h.PID, uint32(h.Flags)
	r.PollKh, r.LastRead, r.Armed = h.pollKh, h.lastRead, h.armed
	r.Parked, r.Calls, r.Refused, r.File = uint32(len(h.parked)), uint32(len(h.calls)), uint32(len(h.refused)), uint32(text)
	atomic.StoreUint32(h.slot.valid(), next)
}

// read takes from the slot what noteLocked put there. It returns the bytes of the File.
func (s *slot) read(h *Handle) ([]byte, error) {
	n := *s.valid()
	if n > 2 {
		return nil, errBadSlot
	}
	half := s.half(n)
	in := *view[fileRecord](half)
	rest := half[fileRecordSize:]
	if in.Parked > maxParked || in.Calls > maxCalls || in.State == 0 || in.State > uint32(lost) {
		return nil, errBadSlot
	}
	h.UID, h.GID, h.PID, h.Flags = in.UID, in.GID, in.PID, int(in.Flags)
	h.slot, h.state, h.status, h.unique, h.fh = s, fileState(in.State), in.Status, in.Unique, in.Fh
	h.pollKh, h.lastRead, h.armed = in.PollKh, in.LastRead, in.Armed
	for range in.Parked {
		r := view[parkedRecord](rest)
		h.parked = append(h.parked, parkedRead{unique: r.Unique, size: int(min(r.Size, maxTransfer)), thread: r.Thread})
		h.readers = remember(h.readers, r.Thread)
		rest = rest[parkedRecordSize:]
	}
	for range in.Calls {
		h.calls = append(h.calls, callUnderWay{unique: *view[uint64](rest)})
		rest = rest[8:]
	}
	if h.state == lost {
		return nil, nil
	}
	if uint64(in.Refused)+uint64(in.File) > uint64(len(rest)) {
		return nil, errBadSlot
	}
	h.refused = append([]byte(nil), rest[:in.Refused]...)
	return rest[in.Refused:][:in.File], nil
}

var errBadSlot = errors.New("cuse: a slot of the record makes no sense")

// keeperOf is the file's own part in keeping it, or nil.
func keeperOf(f File) encoding.BinaryAppender {
	keeper, _ := f.(encoding.BinaryAppender)
	return keeper
}
