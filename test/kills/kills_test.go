package kills

import (
	"strings"
	"testing"
	"time"
)

func TestTriesOfSeveralRunsAddUp(t *testing.T) {
	const ms = time.Millisecond
	first := Tries{Case: "kbdd: SIGKILL", Tried: 3, Took: []time.Duration{30 * ms, 10 * ms}}
	second := Tries{Case: "kbdd: SIGKILL", Tried: 2, Took: []time.Duration{20 * ms, 40500 * time.Microsecond}}
	service := Tries{Case: "kbdd: SIGKILL", Systemd: true, Tried: 1}
	all, err := Read(strings.NewReader("=== RUN\n    kill_test.go:98: " + first.String() + "\n" +
		service.String() + "\nPASS\n    kill_test.go:98: " + second.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `| case          | tried | recovered | p50     | max     |
|---            |---    |---        |---      |---      |
| kbdd: SIGKILL | 5     | 4         | 20.0 ms | 40.5 ms |
| kbdd: SIGKILL | 1     | 0         | -       | -       |
`
	if got := Table(Sum(all)); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestOutputThatIsCutOffIsAnError(t *testing.T) {
	if _, err := Read(strings.NewReader("tries: {\"case\":\"kbd")); err == nil {
		t.Error("no error")
	}
}
