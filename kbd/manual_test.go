package kbd

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// callNames are the calls by the names that kbd(4) has for them.
var callNames = map[string]uint32{
	"KDGKBTYPE": kdGKBType, "KDGKBMODE": kdGKBMode, "KDSKBMODE": kdSKBMode, "KDGETLED": kdGetLED, "KDSETLED": kdSetLED,
	"KDGKBLED": kdGKBLED, "KDSKBLED": kdSKBLED, "KDKBDREP": kdKBDRep, "KDGKBMETA": kdGKBMeta, "KDSKBMETA": kdSKBMeta,
	"KDGKBENT": kdGKBEnt, "KDSKBENT": kdSKBEnt, "KDSKBSENT": kdSKBSEnt, "KDSKBDIACR": kdSKBDiacr, "KDSKBDIACRUC": kdSKBDiacrUC,
	"KDSETKEYCODE": kdSetKeycode, "KDSETMODE": kdSetMode, "KDGETMODE": kdGetMode, "FIONREAD": fionRead,
	"VT_GETMODE": vtGetMode, "VT_SETMODE": vtSetMode, "VT_GETSTATE": vtGetState, "VT_RELDISP": vtRelDisp,
	"VT_ACTIVATE": vtActivate, "VT_WAITACTIVE": vtWaitActive,
	"TCGETS": unix.TCGETS, "TCSETS": unix.TCSETS, "TCSETSW": unix.TCSETSW, "TCSETSF": unix.TCSETSF, "TCGETS2": unix.TCGETS2,
	"TCSETS2": unix.TCSETS2, "TCSETSW2": unix.TCSETSW2, "TCSETSF2": unix.TCSETSF2, "TCFLSH": unix.TCFLSH,
	"TIOCEXCL": unix.TIOCEXCL, "TIOCNXCL": unix.TIOCNXCL, "TIOCGEXCL": unix.TIOCGEXCL,
}

// TestManualHasEveryCall compares the two sections on ioctl(2) with the table of calls.
func TestManualHasEveryCall(t *testing.T) {
	page, err := os.ReadFile("kbd.4")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), ".Ss Calls of a console's keyboard\n")
	text, _, found := strings.Cut(rest, ".Sh FILES\n")
	if !found {
		t.Fatal("kbd(4) has no sections on calls any more")
	}
	inManual := make(map[uint32]bool)
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, ".It ") {
			continue
		}
		for _, name := range regexp.MustCompile(`[A-Z][A-Z0-9_]{4,}`).FindAllString(line, -1) {
			number, known := callNames[name]
			if _, is := ioctlCalls[number]; !known || !is {
				t.Errorf("kbd(4) has %s, which is no call", name)
			}
			inManual[number] = true
		}
	}
	for number := range ioctlCalls {
		if !inManual[number] {
			t.Errorf("the call %#x is not in kbd(4)", number)
		}
	}
}
