package scancode

import (
	"fmt"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   Set
		bytes string
		want  string
	}{
		{"a key", Set1, "1e 1e 9e", "+KEY_A =KEY_A -KEY_A"},
		{"a key", Set2, "1c 1c f0 1c", "+KEY_A =KEY_A -KEY_A"},
		{"a key", Set3, "1c 1c f0 1c", "+KEY_A =KEY_A -KEY_A"},
		{"fake shifts", Set1, "e0 aa e0 b6 e0 47 e0 c7 e0 2a e0 36", "+KEY_HOME -KEY_HOME"},
		{"fake shifts", Set2, "e0 f0 12 e0 f0 59 e0 6c e0 f0 6c e0 12 e0 59", "+KEY_HOME -KEY_HOME"},
		{"Pause", Set1, "e1 1d 45 e1 9d c5", "+KEY_PAUSE"},
		{"Pause", Set2, "e1 14 77 e1 f0 14 f0 77", "+KEY_PAUSE"},
		{"Pause of K_RAW", Set1, "e1 1d 45 1e e1 9d c5 9e", "+KEY_PAUSE +KEY_A -KEY_A"},
		{"Break", Set1, "e0 46 e0 c6 e0 46 e0 c6", "+KEY_PAUSE +KEY_PAUSE"},
		{"PrintScreen of K_RAW", Set1, "e0 2a e0 37 e0 aa e0 b7", "+KEY_SYSRQ -KEY_SYSRQ"},
		{"SysRq", Set1, "38 54 d4 b8", "+KEY_LEFTALT +KEY_SYSRQ -KEY_SYSRQ -KEY_LEFTALT"},
		{"answers", Set1, "fa fe ee aa fc fa ab 83", "fa fe ee aa fc fa ab 83"},
		{"answers", Set2, "fa fe ee aa fc fa ab 83 83", "fa fe ee aa fc fa ab 83 +KEY_F7"},
		{"answers", Set3, "fa fe ee aa fc fa ab 83 83", "fa fe ee aa fc fa ab 83 +KEY_F17"},
		{"breaks like answers", Set1, "2a aa 2b ab 83 7e fe 71 f1 72 f2", "+KEY_LEFTSHIFT -KEY_LEFTSHIFT " +
			"+KEY_BACKSLASH -KEY_BACKSLASH -KEY_2 +KEY_KPCOMMA -KEY_KPCOMMA +KEY_EXIT -KEY_EXIT +KEY_MOVE -KEY_MOVE"},
		{"Korean keys", Set1, "f1 f2 f2", "+KEY_HANJA +KEY_HANGEUL +KEY_HANGEUL"},
		{"Korean keys", Set2, "f1 f2 f2", "+KEY_HANJA +KEY_HANGEUL +KEY_HANGEUL"},
		{"overrun", Set1, "ff 1e", "! +KEY_A"},
		{"overrun", Set2, "00 1c", "! +KEY_A"},
		{"overrun", Set3, "00 1c", "! +KEY_A"},
		{"a release of a key that was down before", Set1, "9e", "-KEY_A"},
		{"102-key keyboard", Set3, "53", "+KEY_BACKSLASH"},
		{"cut Pause", Set1, "e1 1e e1 1d 1e 9e", "+KEY_A =KEY_A -KEY_A"},
		{"cut Pause", Set2, "e1 f0 1c e1 14 f0 f0 1c", "-KEY_A -KEY_A"},
		{"cut prefix", Set1, "e0 e0 47 e0 fa", "+KEY_HOME fa"},
		{"cut prefix", Set2, "f0 f0 1c e0 fa f0 fa f0 e0 6c", "-KEY_A fa fa +KEY_HOME"},
		{"no key", Set1, "7f 00 e0 7f", "? ? ?"},
		{"no key", Set2, "85 ff", "? ?"},
		{"no prefix", Set3, "e0 12", "? +KEY_LEFTSHIFT"},
		{"medium raw", MediumRaw, "1e 9e 00 81 f8 80 81 f8", "+KEY_A -KEY_A +KEY_MICMUTE -KEY_MICMUTE"},
		{"medium raw, code 128", MediumRaw, "00 81 80 80 81 80", "+KEY_STOP -KEY_STOP"},
		{"medium raw, cut", MediumRaw, "00 1e 00 81 00 81 f8 00 00 81 80", "+KEY_A +KEY_MICMUTE +KEY_STOP"},
		{"medium raw, no key", MediumRaw, "00 85 ff 1e", "? +KEY_A"},
	} {
		var dec Decoder
		dec.Reset(c.set)
		var got []string
		for _, b := range unhex(c.bytes) {
			if ev, ok := dec.Decode(b); ok {
				got = append(got, describe(ev))
			}
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s, set %d: % s is\n%s, want\n%s", c.name, c.set, c.bytes, got, c.want)
		}
	}
}

func describe(ev Event) string {
	switch ev.Kind {
	case Press:
		return "+" + ev.Key.String()
	case Repeat:
		return "=" + ev.Key.String()
	case Release:
		return "-" + ev.Key.String()
	case Overrun:
		return "!"
	case Answer:
		return fmt.Sprintf("%02x", ev.Byte)
	case Unknown:
		return "?"
	}
	return fmt.Sprintf("kind %d", ev.Kind)
}
