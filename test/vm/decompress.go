package vm

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os/exec"
)

// packings are the compressions that kernels and modules come in, each by its magic number. gzip is unpacked here, the
// others by the tool of their name.
var packings = []struct{ magic, tool string }{
	{"\x1f\x8b", "gzip"},
	{"\xfd7zXZ\x00", "xz"},
	{"\x28\xb5\x2f\xfd", "zstd"},
	{"\x02\x21\x4c\x18", "lz4"},
	{"BZh", "bzip2"},
}

// decompress unpacks data by its magic number; what is not packed is returned as it is.
func decompress(data []byte) ([]byte, error) {
	for _, p := range packings {
		if !bytes.HasPrefix(data, []byte(p.magic)) {
			continue
		}
		if p.tool == "gzip" {
			return gunzip(data)
		}
		cmd := exec.Command(p.tool, "-dc")
		cmd.Stdin = bytes.NewReader(data)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("unpack with %s: %w: %s", p.tool, err, bytes.TrimSpace(complaint.Bytes()))
		}
		return out, nil
	}
	return data, nil
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	r.Multistream(false) // a kernel's payload may have its length behind it
	return io.ReadAll(r)
}
