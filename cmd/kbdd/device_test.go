package main

import (
	"os"
	"slices"
	"testing"
)

func TestDevicesAreNamedByPatterns(t *testing.T) {
	for _, c := range []struct {
		entry            device
		device, keyboard string
		fits             bool
	}{
		{device{Name: "kbd0"}, "kbd0", "", true},
		{device{Name: "kbd0"}, "kbd1", "AT", false},
		{device{Name: "kbd*"}, "kbd1", "AT", true},
		{device{Keyboard: "Maker */Scanner"}, "kbd3", "Maker 2/Scanner", true},
		{device{Keyboard: "Maker*"}, "kbd0", "", false},
		{device{Name: "kbd[1-9]", Keyboard: "*"}, "kbd3", "AT", true},
	} {
		if got := c.entry.fits(c.device, c.keyboard); got != c.fits {
			t.Errorf("%+v fits %s, of %q: %v", c.entry, c.device, c.keyboard, got)
		}
	}
}

func TestUsersAndGroupsHaveNumbers(t *testing.T) {
	c, err := load(t, "[[device]]\nname = \"kbd0\"\nusers = [\"root\", \"daemon\"]\ngroups = [\"root\"]\n[[device]]\nname = \"kbd1\"\nusers = []")
	if err != nil {
		t.Fatal(err)
	}
	rules := c.settings().Rules
	if a := rules[0].Access; !slices.Equal(a.Users, []uint32{0, 1}) || !slices.Equal(a.Groups, []uint32{0}) {
		t.Errorf("access %+v", a)
	}
	if a := rules[1].Access; a == nil || len(a.Users)+len(a.Groups) > 0 {
		t.Errorf("nobody but root may: %+v", a)
	}
}

func TestDevicesMuteUnlessToldOtherwise(t *testing.T) {
	c, err := load(t, "[[device]]\nname = \"kbd0\"\n[[device]]\nname = \"kbd1\"\nmute = false\n[[device]]\nname = \"kbd2\"\nmute = true")
	if err != nil {
		t.Fatal(err)
	}
	rules := c.settings().Rules
	if rules[0].Mute != nil || *rules[1].Mute || !*rules[2].Mute {
		t.Errorf("%+v", rules)
	}
}

func TestGroupsOfAThreadAreTheKernels(t *testing.T) {
	want, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, g := range groupsOf(uint32(os.Getpid())) {
		got = append(got, int(g))
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
}
