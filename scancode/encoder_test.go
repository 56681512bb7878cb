package scancode

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestHello(t *testing.T) {
	var enc Encoder
	var got []byte
	for _, key := range []Key{KeyH, KeyE, KeyL, KeyL, KeyO} {
		got = enc.Append(got, key, true)
		got = enc.Append(got, key, false)
	}
	if want := unhex("23 a3 12 92 26 a6 26 a6 18 98"); !bytes.Equal(got, want) {
		t.Errorf("hello is % x, want % x", got, want)
	}
}

// hardware is what IBM's and Microsoft's tables give for the special keys, in set 1.
var hardware = []struct {
	key     Key
	under   []Key // held all the time
	numLock bool
	makes   string
	breaks  string
}{
	{KeySysRq, nil, false, "E0 2A E0 37", "E0 B7 E0 AA"},
	{KeySysRq, nil, true, "E0 2A E0 37", "E0 B7 E0 AA"},
	{KeySysRq, []Key{KeyLeftAlt}, false, "54", "D4"},
	{KeySysRq, []Key{KeyRightAlt, KeyLeftCtrl}, false, "54", "D4"},
	{KeySysRq, []Key{KeyLeftCtrl}, false, "E0 37", "E0 B7"},
	{KeySysRq, []Key{KeyRightCtrl}, false, "E0 37", "E0 B7"},
	{KeySysRq, []Key{KeyLeftShift}, false, "E0 37", "E0 B7"},
	{KeySysRq, []Key{KeyRightShift}, true, "E0 37", "E0 B7"},
	{KeyPause, nil, false, "E1 1D 45 E1 9D C5", ""},
	{KeyPause, []Key{KeyLeftShift}, true, "E1 1D 45 E1 9D C5", ""},
	{KeyPause, []Key{KeyLeftCtrl}, false, "E0 46 E0 C6", ""},
	{KeyPause, []Key{KeyRightCtrl}, false, "E0 46 E0 C6", ""},
	{KeyHangeul, nil, false, "F2", ""},
	{KeyHanja, nil, false, "F1", ""},
	{KeyKPSlash, nil, false, "E0 35", "E0 B5"},
	{KeyKPSlash, nil, true, "E0 35", "E0 B5"},
	{KeyKPSlash, []Key{KeyLeftShift}, false, "E0 AA E0 35", "E0 B5 E0 2A"},
	{KeyKPSlash, []Key{KeyRightShift}, true, "E0 B6 E0 35", "E0 B5 E0 36"},
	{KeyKPEnter, []Key{KeyLeftShift}, false, "E0 1C", "E0 9C"},
	{KeyRightCtrl, []Key{KeyLeftShift}, true, "E0 1D", "E0 9D"},
}

var greyKeys = map[Key]string{
	KeyInsert: "52", KeyDelete: "53", KeyHome: "47", KeyEnd: "4F", KeyPageUp: "49", KeyPageDown: "51",
	KeyUp: "48", KeyLeft: "4B", KeyDown: "50", KeyRight: "4D",
}

func TestSpecialKeysSendWhatHardwareSends(t *testing.T) {
	cases := hardware
	for key, code := range greyKeys {
		up := hex.EncodeToString([]byte{unhex(code)[0] | 0x80})
		for _, c := range []struct {
			under        []Key
			numLock      bool
			before, then string
		}{
			{nil, false, "", ""},
			{nil, true, "E0 2A ", " E0 AA"},
			{[]Key{KeyLeftShift}, false, "E0 AA ", " E0 2A"},
			{[]Key{KeyRightShift}, false, "E0 B6 ", " E0 36"},
			{[]Key{KeyLeftShift, KeyRightShift}, false, "E0 AA E0 B6 ", " E0 2A E0 36"},
			{[]Key{KeyLeftShift}, true, "", ""},
			{[]Key{KeyRightShift}, true, "", ""},
			{[]Key{KeyLeftCtrl, KeyLeftAlt}, false, "", ""},
		} {
			cases = append(cases, hardware[0])
			last := &cases[len(cases)-1]
			last.key, last.under, last.numLock = key, c.under, c.numLock
			last.makes, last.breaks = c.before+"E0 "+code, "E0 "+up+c.then
		}
	}
	for _, c := range cases {
		for _, set := range []Set{Set1, Set2} {
			var enc Encoder
			enc.Reset(set)
			enc.SetNumLock(c.numLock)
			for _, key := range c.under {
				enc.Append(nil, key, true)
			}
			gotMake := enc.Append(nil, c.key, true)
			gotBreak := enc.Append(nil, c.key, false)
			if set == Set2 {
				gotMake, gotBreak = translate(gotMake), translate(gotBreak)
			}
			if !bytes.Equal(gotMake, unhex(c.makes)) || !bytes.Equal(gotBreak, unhex(c.breaks)) {
				t.Errorf("set %d: %v under %v, NumLock %v: % x, % x; want %s, %s",
					set, c.key, c.under, c.numLock, gotMake, gotBreak, c.makes, c.breaks)
			}
		}
	}
}

func TestSet2(t *testing.T) {
	for _, c := range []struct {
		key           Key
		under         Key
		makes, breaks string
	}{
		{KeyA, 0, "1C", "F0 1C"},
		{KeyF7, 0, "83", "F0 83"},
		{KeyRightCtrl, 0, "E0 14", "E0 F0 14"},
		{KeyPause, 0, "E1 14 77 E1 F0 14 F0 77", ""},
		{KeyPause, KeyLeftCtrl, "E0 7E E0 F0 7E", ""},
		{KeySysRq, 0, "E0 12 E0 7C", "E0 F0 7C E0 F0 12"},
		{KeySysRq, KeyLeftAlt, "84", "F0 84"},
		{KeyHangeul, 0, "F2", ""},
		{KeyHome, KeyRightShift, "E0 F0 59 E0 6C", "E0 F0 6C E0 59"},
	} {
		var enc Encoder
		enc.Reset(Set2)
		enc.Append(nil, c.under, true)
		gotMake := enc.Append(nil, c.key, true)
		gotBreak := enc.Append(nil, c.key, false)
		if !bytes.Equal(gotMake, unhex(c.makes)) || !bytes.Equal(gotBreak, unhex(c.breaks)) {
			t.Errorf("%v under %v: % x, % x; want %s, %s", c.key, c.under, gotMake, gotBreak, c.makes, c.breaks)
		}
	}
}

// TestControllerTranslatesSet2ToSet1 presses every key: translate does what the i8042 does.
func TestControllerTranslatesSet2ToSet1(t *testing.T) {
	for key := range Key(256) {
		var one, two Encoder
		two.Reset(Set2)
		for _, pressed := range []bool{true, false} {
			want, got := one.Append(nil, key, pressed), translate(two.Append(nil, key, pressed))
			if !bytes.Equal(got, want) {
				t.Errorf("%v, pressed %v: set 2 translates to % x, set 1 is % x", key, pressed, got, want)
			}
		}
	}
}

// translate is the i8042's translation.
func translate(set2 []byte) (set1 []byte) {
	var up byte
	for _, b := range set2 {
		switch {
		case b == 0xf0:
			up = 0x80
			continue
		case b == 0x83:
			b = 0x41
		case b == 0x84:
			b = 0x54
		case b < 0x80:
			b = byte(bytes.IndexByte(untranslated[:], b))
		}
		set1 = append(set1, b|up)
		up = 0
	}
	return set1
}

func TestEverySet(t *testing.T) {
	for set, want := range map[Set]int{Set1: 239, Set2: 239, Set3: 145, MediumRaw: 255} {
		n := 0
		codes := map[string]Key{}
		for key := range Key(1000) {
			var enc Encoder
			enc.Reset(set)
			b := string(enc.Append(nil, key, true))
			if set.Has(key) != (b != "") {
				t.Errorf("set %d: Has(%v) is %v, its make % x", set, key, set.Has(key), b)
			}
			if enc.Down(key) != set.Breaks(key) {
				t.Errorf("set %d: Breaks(%v) is %v, down %v after its make", set, key, set.Breaks(key), enc.Down(key))
			}
			if b == "" {
				continue
			}
			n++
			if other, ok := codes[b]; ok && !(other == KeyKatakanaHiragana && key == KeyISO) {
				t.Errorf("set %d: %v and %v are both % x", set, other, key, b)
			}
			codes[b] = key
		}
		if n != want {
			t.Errorf("set %d has %d keys, want %d", set, n, want)
		}
	}
}

// TestModifiersThatChangeBetweenMakeAndBreak has the cases that IBM's tables have not.
func TestModifiersThatChangeBetweenMakeAndBreak(t *testing.T) {
	for _, c := range []struct{ name, events, want string }{
		{"Alt comes", "+KEY_SYSRQ +KEY_LEFTALT -KEY_SYSRQ", "e0 2a e0 37 38 e0 b7 e0 aa"},
		{"Alt goes", "+KEY_LEFTALT +KEY_SYSRQ -KEY_LEFTALT -KEY_SYSRQ", "38 54 b8 d4"},
		{"Shift goes", "+KEY_LEFTSHIFT +KEY_HOME -KEY_LEFTSHIFT -KEY_HOME", "2a e0 aa e0 47 aa e0 c7"},
		{"Shift comes", "+KEY_HOME +KEY_LEFTSHIFT -KEY_HOME", "e0 47 2a e0 c7"},
		{"Shift comes to PrintScreen", "+KEY_SYSRQ +KEY_LEFTSHIFT -KEY_SYSRQ", "e0 2a e0 37 2a e0 b7"},
		{
			"one Shift goes", "+KEY_LEFTSHIFT +KEY_RIGHTSHIFT +KEY_UP -KEY_RIGHTSHIFT -KEY_UP",
			"2a 36 e0 aa e0 b6 e0 48 b6 e0 c8 e0 2a",
		},
	} {
		var enc Encoder
		var got []byte
		for _, ev := range strings.Fields(c.events) {
			got = enc.Append(got, keyNamed(t, ev[1:]), ev[0] == '+')
		}
		if !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: % x, want %s", c.name, got, c.want)
		}
	}
}

func TestRepeats(t *testing.T) {
	for _, c := range []struct {
		set   Set
		under Key
		key   Key
		want  string
	}{
		{Set1, 0, KeyA, "1e"},
		{Set1, 0, KeySysRq, "e0 37"},
		{Set1, KeyLeftAlt, KeySysRq, "54"},
		{Set1, KeyLeftShift, KeyHome, "e0 47"},
		{Set1, 0, KeyPause, ""},
		{Set1, 0, KeyHanja, ""},
		{Set2, 0, KeySysRq, "e0 7c"},
		{Set2, KeyLeftAlt, KeySysRq, "84"},
		{Set3, 0, KeySysRq, "57"},
		{Set3, 0, KeyPause, "62"},
		{MediumRaw, 0, KeyPause, "77"},
	} {
		var enc Encoder
		enc.Reset(c.set)
		if got := enc.AppendRepeat(nil, c.key); len(got) != 0 {
			t.Errorf("set %d: %v repeats as % x while it is up", c.set, c.key, got)
		}
		enc.Append(nil, c.under, true)
		enc.Append(nil, c.key, true)
		if got := enc.AppendRepeat(nil, c.key); !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("set %d: %v repeats as % x, want %s", c.set, c.key, got, c.want)
		}
	}
}

func TestMediumRaw(t *testing.T) {
	for _, c := range []struct {
		key     Key
		pressed bool
		want    string
	}{
		{KeyA, true, "1e"},
		{KeyA, false, "9e"},
		{KeyCompose, true, "7f"},
		{KeyCompose, false, "ff"},
		{KeyStop, true, "00 81 80"},
		{KeyStop, false, "80 81 80"},
		{KeyMicMute, true, "00 81 f8"},
		{0x2ff, false, "80 85 ff"},
	} {
		if got := AppendMediumRaw(nil, c.key, c.pressed); !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%v, pressed %v: % x, want %s", c.key, c.pressed, got, c.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var enc Encoder
	var dec Decoder
	buf := make([]byte, 0, 64)
	for _, set := range []Set{Set1, Set2, Set3, MediumRaw} {
		enc.Reset(set)
		dec.Reset(set)
		if n := testing.AllocsPerRun(100, func() {
			b := enc.Append(buf, KeyHome, true)
			b = enc.Append(b, KeyHome, false)
			b = enc.Append(b, KeyPause, true)
			for _, c := range b {
				dec.Decode(c)
			}
		}); n != 0 {
			t.Errorf("set %d: %v allocations", set, n)
		}
	}
}

func keyNamed(t *testing.T, name string) Key {
	t.Helper()
	for key := range Key(256) {
		if key.String() == name {
			return key
		}
	}
	t.Fatalf("no key %s", name)
	return 0
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}
