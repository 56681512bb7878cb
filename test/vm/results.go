package vm

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kbdd/test/vm/job"
)

// receive reads the results and puts the files among them in their places. Where the machine goes away before the end, the
// error is io.EOF or io.ErrUnexpectedEOF.
func receive(r io.Reader, outputs []string) (job.Result, error) {
	messages := json.NewDecoder(r)
	for {
		var m job.Message
		if err := messages.Decode(&m); err != nil {
			return job.Result{}, err
		}
		if m.Result != nil {
			return *m.Result, nil
		}
		if err := keep(m.File, m.Content, outputs); err != nil {
			return job.Result{}, fmt.Errorf("bring back %s: %w", m.File, err)
		}
	}
}

// keep writes a file that came back. The machine may write nothing on the host that was not asked for.
func keep(path string, content []byte, outputs []string) error {
	asked := slices.ContainsFunc(outputs, func(output string) bool {
		return path == output || strings.HasPrefix(path, output+"/")
	})
	if !asked || path != filepath.Clean(path) {
		return fmt.Errorf("not one of %q", outputs)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
