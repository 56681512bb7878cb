package kbd

import (
	"testing"
	"testing/synctest"

	"kbdd/scancode"
)

func TestKeysAllocateNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "keys")
		if err := s.do("plug", []string{"A"}); err != nil {
			t.Fatal(err)
		}
		if err := s.do("open", []string{"f", "kbd0"}); err != nil {
			t.Fatal(err)
		}
		f := s.files["f"]
		defer f.Close()
		deliver := s.service.ports[0].deliver
		var buf [64]byte
		record := make([]byte, 0, 8<<10)
		tap := func() {
			for _, pressed := range []bool{true, false} {
				deliver(uint16(scancode.KeyA), pressed)
				if kept, err := f.AppendBinary(record); len(kept) == 0 || err != nil {
					t.Fatalf("%d bytes are kept, %v", len(kept), err)
				}
				if n, err := f.Read(buf[:]); n != 1 || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
			}
		}
		if n := testing.AllocsPerRun(100, tap); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
