package debian

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"kbdd/test/machine"
)

// A person sits at a virtual terminal and sees its screen.
type person struct {
	t        *testing.T
	name     string
	vt       int
	keyboard *machine.Keyboard
}

func (p *person) screen() string {
	p.t.Helper()
	text, err := machine.Screen(p.vt)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// sees waits until a text is on the screen.
func (p *person) sees(text string) {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the screen of tty%d:\n%s", p.vt, p.screen())
		}
	}()
	waitUntil(p.t, p.name+" sees "+text, func() bool { return strings.Contains(p.screen(), text) })
}

// logIn logs in at getty's prompt.
func (p *person) logIn(password string) {
	p.t.Helper()
	p.sees("login:")
	p.keyboard.Type(p.name + "\n")
	p.sees("Password:")
	p.keyboard.Type(password + "\n")
	p.sees(p.prompt())
}

func (p *person) prompt() string { return p.name + "@vm:~$" }

// reads has the shell run a program that reads /dev/kbd0 into a file, and waits until it does.
func (p *person) reads(file string) {
	p.t.Helper()
	p.keyboard.Type("clear; cat /dev/kbd0 >" + file + "\n")
	p.isMuted()
}

// isMuted waits until the console does not hear the keyboard.
func (p *person) isMuted() {
	p.t.Helper()
	waitUntil(p.t, "the keyboard is muted", func() bool {
		return strings.Contains(output("kbdctl status --json | tr -d ' \\n'"), `"muted":true`)
	})
}

// heard checks what the program has read, in hexadecimal, and that the screen shows none of it.
func (p *person) heard(file, want string) {
	p.t.Helper()
	p.got(file, want)
	if text := p.screen(); strings.Count(text, "\n") > 1 || strings.TrimSpace(strings.TrimPrefix(text, p.prompt())) != "" {
		p.t.Errorf("the screen shows what was typed for the reader: %q", text)
	}
}

// got waits until the program has read that.
func (p *person) got(file, want string) {
	p.t.Helper()
	waitUntil(p.t, "the reader has "+want, func() bool {
		codes, err := os.ReadFile("/home/" + p.name + "/" + file)
		return err == nil && hex.EncodeToString(codes) == want
	})
}

// shellGoesOn has the shell say a word, which shows that what is typed reaches it and nothing else.
func (p *person) shellGoesOn(word string) {
	p.t.Helper()
	p.sees(p.prompt())
	p.keyboard.Type("\nclear; echo $((40+2))-" + word + "\n")
	p.sees("42-" + word)
}
