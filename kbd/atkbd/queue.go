package atkbd

import "kbdd/scancode"

// The room for what the reader has not read yet. Keys and answers have each their own, as on hardware, where answers
// take no place in the buffer; all are read in the order in which they came.
//
// Hardware has a buffer of 16 bytes, and a controller that empties it at once; a program that draws a picture in between
// needs more. The least that will do is a break of every key at once: forgetKeys relies on it.
const (
	QueueSize  = 1024 // bytes of makes and breaks, with one for the overrun code
	AnswerSize = 256  // bytes of answers to host commands, with one for the last refusal
)

// A queue holds the bytes that were sent and not read. Each knows what it belongs to, so that codes can be taken back in
// one piece and with regard to what the reader knows.
type queue struct {
	ring    [QueueSize + AnswerSize]sent
	head, n int
	answers int  // how many of the n are answers
	inside  bool // the byte read last was not the last of its code
}

// A sent is a byte in the queue.
type sent struct {
	b    byte
	kind kind
	key  uint8
	last bool // of its code
}

type kind uint8

const (
	otherCode kind = iota // repeats, makes of keys without a break, overruns: the reader is owed nothing for them
	makeCode
	breakCode
	answer
)

func (q *queue) keyRoom() int    { return QueueSize - (q.n - q.answers) }
func (q *queue) answerRoom() int { return AnswerSize - q.answers }

// push adds one code or one answer. The caller has seen to the room.
func (q *queue) push(b []byte, key scancode.Key, kind kind) {
	for i, c := range b {
		q.put(sent{b: c, kind: kind, key: uint8(key), last: i == len(b)-1 || kind == answer})
	}
}

func (q *queue) put(s sent) {
	*q.at(q.n) = s
	q.n++
	if s.kind == answer {
		q.answers++
	}
}

// at is the place of the byte that is i bytes behind the next one to be read.
func (q *queue) at(i int) *sent {
	i += q.head
	if i >= len(q.ring) {
		i -= len(q.ring)
	}
	return &q.ring[i]
}

func (q *queue) pop(p []byte) int {
	n := min(len(p), q.n)
	for i := range p[:n] {
		s := q.at(0)
		p[i] = s.b
		q.inside = !s.last
		if s.kind == answer {
			q.answers--
		}
		q.n--
		if q.head++; q.head == len(q.ring) {
			q.head = 0
		}
	}
	return n
}

// What clear takes away besides.
const (
	clearAnswers = 1 << iota // answers
	clearMakes               // all makes: the reader is to take every key to be up
)

// clear drops the codes in the queue. It leaves the rest of a code that is read in part, and those that the reader must
// have to be right about the keys: of each key the first code if it is a break, for then the reader knows its make;
// and the last if it is a make, for then the key is down. It returns the keys for which the reader is right about the
// key being up, though the encoder may not be: those that had a make or break in the queue.
func (q *queue) clear(also int) (told keySet) {
	lastMake := q.lastMakes()
	n, begins := q.n, !q.inside
	q.n, q.answers = 0, 0
	keep := true // what is left of a code that is read in part
	for i := range n {
		s := *q.at(i)
		if begins {
			key := scancode.Key(s.key)
			switch s.kind {
			case answer:
				keep = also&clearAnswers == 0
			case breakCode:
				keep = !told.has(key)
				told.add(key)
			case makeCode:
				keep = also&clearMakes == 0 && lastMake[key] == i+1
				told.add(key)
			default:
				keep = false
			}
		}
		if keep {
			q.put(s)
		}
		begins = s.last
	}
	return told
}

// lastMakes returns where the last make of each key begins, plus one; 0 for the keys whose last code is a break, and
// those that have none.
func (q *queue) lastMakes() (at [keyCount]int) {
	begins := !q.inside
	for i := range q.n {
		switch s := q.at(i); {
		case s.kind == makeCode && begins:
			at[s.key] = i + 1
		case s.kind == breakCode:
			at[s.key] = 0
		}
		begins = q.at(i).last
	}
	return at
}
