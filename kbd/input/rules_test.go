package input

import "testing"

// The devices that these rules are about.
var (
	laptop  = Info{Name: "AT Translated Set 2 keyboard", Phys: "isa0060/serio0/input0", Bus: busI8042, Vendor: 1, Product: 1, Typing: true}
	scanner = Info{Name: "USB Reader With Keyboard", Phys: "usb-0000:00:14.0-2/input0", Vendor: 0x08ff, Product: 9, Typing: true}
	apple   = Info{Name: "Apple Internal Keyboard / Trackpad", Phys: "usb-0000:00:14.0-5/input0", Vendor: 0x05ac, Product: 0x259, Typing: true}
	pedal   = Info{Name: "VEC USB Footpedal", Phys: "usb-0000:00:14.0-7/input0", Vendor: 0x05f3, Product: 0xff}
	bypass  = Info{Name: "kbdd bypass", Phys: ownPhys + "bypass", Typing: true}
)

func TestRules(t *testing.T) {
	everything := Selector{Name: "*"}
	tests := map[string]struct {
		rules Rules
		want  []*Info // those that are keyboards
	}{
		"without rules what can be typed on is": {Rules{}, []*Info{&laptop, &scanner, &apple}},
		"match leaves those that it picks":      {Rules{Match: []Selector{{Name: "USB*"}}}, []*Info{&scanner}},
		"match does not make one":               {Rules{Match: []Selector{{Name: "VEC*"}}}, nil},
		"two are matched by two":                {Rules{Match: []Selector{{ID: "8ff:9"}, {Phys: "isa*"}}}, []*Info{&laptop, &scanner}},
		"ignore takes one away":                 {Rules{Ignore: []Selector{{ID: "08FF:0009"}}}, []*Info{&laptop, &apple}},
		"a vendor's all":                        {Rules{Ignore: []Selector{{ID: "05ac:*"}}}, []*Info{&laptop, &scanner}},
		"a product of anybody's":                {Rules{Ignore: []Selector{{ID: "*:0009"}}}, []*Info{&laptop, &apple}},
		"force makes one":                       {Rules{Force: []Selector{{Name: "VEC USB Footpedal"}}}, []*Info{&laptop, &scanner, &apple, &pedal}},
		"force goes before match":               {Rules{Force: []Selector{{Name: "VEC*"}}, Match: []Selector{{ID: "1:1"}}}, []*Info{&laptop, &pedal}},
		"ignore goes before force":              {Rules{Force: []Selector{everything}, Ignore: []Selector{{Name: "VEC*"}}}, []*Info{&laptop, &scanner, &apple}},
		"ignore goes before match":              {Rules{Match: []Selector{everything}, Ignore: []Selector{{Phys: "usb-*"}}}, []*Info{&laptop}},
		"an entry wants all that it names":      {Rules{Ignore: []Selector{{Name: "USB*", ID: "05ac:*"}}}, []*Info{&laptop, &scanner, &apple}},
		"and has all that it names":             {Rules{Ignore: []Selector{{Name: "USB*", Phys: "usb-*", ID: "08ff:*"}}}, []*Info{&laptop, &apple}},
		"a star goes over slashes":              {Rules{Match: []Selector{{Name: "Apple*pad"}, {Phys: "isa*input0"}}}, []*Info{&laptop, &apple}},
		"a slash is a slash":                    {Rules{Match: []Selector{{Phys: "usb-0000:00:14.0-2/input?"}}}, []*Info{&scanner}},
		"our own are never forced":              {Rules{Force: []Selector{everything}}, []*Info{&laptop, &scanner, &apple, &pedal}},
		"an empty entry picks nothing":          {Rules{Ignore: []Selector{{}}}, []*Info{&laptop, &scanner, &apple}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := make(map[*Info]bool)
			for _, info := range test.want {
				want[info] = true
			}
			for _, info := range []*Info{&laptop, &scanner, &apple, &pedal, &bypass} {
				if got := test.rules.keyboard(info); got != want[info] {
					t.Errorf("%s is a keyboard: %t, want %t", info.Name, got, want[info])
				}
			}
		})
	}
}

func TestBadRulesAreTold(t *testing.T) {
	for want, rules := range map[string]Rules{
		"": {
			Match:  []Selector{{Name: "[A-Z]*"}, {Phys: "usb-*/input0"}},
			Ignore: []Selector{{ID: "046d:*"}, {ID: "*:1"}},
			Force:  []Selector{{Name: "x", Phys: "y", ID: "0:ffff"}},
		},
		"match: an entry is empty: it needs a name, a phys or an id":                             {Match: []Selector{{Name: "a"}, {}}},
		`ignore: name "Logi[tech" is not a pattern: syntax error in pattern`:                     {Ignore: []Selector{{Name: "Logi[tech"}}},
		`force: phys "usb\\" is not a pattern: syntax error in pattern`:                          {Force: []Selector{{Phys: `usb\`}}},
		`match: id "046d" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`:        {Match: []Selector{{ID: "046d"}}},
		`match: id "046d:" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`:       {Match: []Selector{{ID: "046d:"}}},
		`match: id "046d:1c31d" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`:  {Match: []Selector{{ID: "046d:1c31d"}}},
		`ignore: id "Logitech:*" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`: {Ignore: []Selector{{ID: "Logitech:*"}}},
		`force: id "046d:c31d:2" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`: {Force: []Selector{{ID: "046d:c31d:2"}}},
		`force: id "046d:*1" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`:     {Force: []Selector{{Name: "a", ID: "046d:*1"}}},
		`ignore: id "0x46d:c31d" is not VENDOR:PRODUCT, each up to four hexadecimal digits or *`: {Ignore: []Selector{{ID: "0x46d:c31d"}}},
	} {
		got := ""
		if err := rules.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
