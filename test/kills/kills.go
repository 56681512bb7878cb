// Package kills is what the kill matrix has found, and the table of it.
package kills

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Tries are those of one case.
type Tries struct {
	Case    string          `json:"case"`
	Systemd bool            `json:"systemd"` // it was done to a service of systemd's
	Tried   int             `json:"tried"`
	Took    []time.Duration `json:"took"` // by each that recovered
}

// mark stands before a line of JSON in the output of a test.
const mark = "tries: "

// String is a line for Read.
func (t Tries) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return mark + string(text)
}

// Read finds the tries in the output of a test.
func Read(output io.Reader) (all []Tries, err error) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, text, found := strings.Cut(lines.Text(), mark+"{")
		if !found {
			continue
		}
		var t Tries
		if err := json.Unmarshal([]byte("{"+text), &t); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		all = append(all, t)
	}
	return all, lines.Err()
}

// Sum adds up the tries of the same case.
func Sum(all []Tries) (sums []Tries) {
	for _, t := range all {
		i := slices.IndexFunc(sums, func(s Tries) bool { return s.Case == t.Case && s.Systemd == t.Systemd })
		if i < 0 {
			sums = append(sums, t)
			continue
		}
		sums[i].Tried += t.Tried
		sums[i].Took = slices.Concat(sums[i].Took, t.Took)
	}
	return sums
}

// Table has a row for each of all, as Markdown that can be read as it is.
func Table(all []Tries) string {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| case\t| tried\t| recovered\t| p50\t| max\t|\n|---\t|---\t|---\t|---\t|---\t|\n")
	for _, t := range all {
		fmt.Fprintf(w, "| %s\t| %d\t| %d\t| %s\t| %s\t|\n", t.Case, t.Tried, len(t.Took), t.quantile(50), t.quantile(100))
	}
	w.Flush()
	return table.String()
}

// quantile is the time that percent of those that recovered took at most.
func (t Tries) quantile(percent int) string {
	if len(t.Took) == 0 {
		return "-"
	}
	took := slices.Sorted(slices.Values(t.Took))
	d := took[(len(took)*percent+99)/100-1]
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
