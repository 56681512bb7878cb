package machine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"kbdd/test/vm/job"
)

// qmp is the machine's own line to QEMU's monitor (https://www.qemu.org/docs/master/interop/qmp-spec.html).
type qmp struct {
	mu    sync.Mutex
	port  *os.File       // guarded by mu
	lines *bufio.Scanner // guarded by mu
	last  int            // the number of the last command; guarded by mu
}

// There is one line only, so all tests of a program share it.
var sharedQMP = sync.OnceValues(openQMP)

func monitor(t testing.TB) *qmp {
	t.Helper()
	q, err := sharedQMP()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func openQMP() (*qmp, error) {
	port, err := os.OpenFile(filepath.Join(job.PortDir, job.QMP), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	q := &qmp{port: port, lines: bufio.NewScanner(port)}
	// An earlier program may have done this already. The error is no matter: if QEMU does not listen, the next command tells.
	_ = q.command("qmp_capabilities", nil, nil)
	return q, nil
}

// qmpAnswer is a line from QEMU: its greeting, an event, or the answer to the command with that id.
type qmpAnswer struct {
	ID     string          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Description string `json:"desc"`
	} `json:"error"`
}

// command has QEMU do something and waits until it is done. There is no limit but vmrun's own: where the machine's clock counts
// instructions, any time may pass in it until QEMU answers.
func (q *qmp) command(name string, arguments, result any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	// With our pid in it, the answer to a program before us that was killed is not taken for ours.
	id := strconv.Itoa(os.Getpid()) + "." + strconv.Itoa(q.last)
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        string `json:"id"`
	}{name, arguments, id})
	if err != nil {
		return err
	}
	if _, err := q.port.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("QMP %s: %w", name, err)
	}
	for q.lines.Scan() {
		var answer qmpAnswer
		if json.Unmarshal(q.lines.Bytes(), &answer) != nil || answer.ID != id {
			continue // the greeting, an event, or a rest of a line that was not for us
		}
		if answer.Error != nil {
			return fmt.Errorf("QMP %s: %s", name, answer.Error.Description)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(answer.Return, result)
	}
	return fmt.Errorf("QMP %s: no answer: %w", name, q.lines.Err())
}
