// Package readme puts tables that were measured into a page.
package readme

import (
	"bytes"
	"fmt"
	"os"
	"slices"
)

// Replace puts a table into file, in the place of the one before: between these lines, where maker is the target of make that
// has measured it.
//
//	<!-- made by make MAKER -->
//	<!-- end -->
func Replace(file, maker, table string) error {
	begin, end := []byte("<!-- made by make "+maker+" -->\n"), []byte("<!-- end -->\n")
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(page, begin)
	_, after, closed := bytes.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no place for the table of make %s", file, maker)
	}
	return os.WriteFile(file, slices.Concat(before, begin, []byte(table), end, after), 0o644)
}
