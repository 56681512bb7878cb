// Package debian plays a person's session on a Debian on which kbdd is installed as an administrator does it, by dpkg. It is run
// in the machine that vmrun -debian boots; see make test-debian.
package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbdd/test/machine"
)

// The packages, as make test-debian puts them into the machine: the second is the same with a higher version.
const (
	firstPackage  = "/root/kbdd-1.deb"
	secondPackage = "/root/kbdd-2.deb"
)

// TestDebian is one long session: each part begins where the one before has left the machine.
func TestDebian(t *testing.T) {
	machine.Require(t)
	if _, err := os.Stat(firstPackage); err != nil {
		t.Skip("this is not the machine with the packages: run make test-debian")
	}
	must(t, "useradd -m -s /bin/bash -G input alice && useradd -m -s /bin/bash bob && printf 'alice:a\\nbob:b\\n' | chpasswd")
	must(t, "rm -f /etc/dpkg/dpkg.cfg.d/*") // this Debian was made without documentation; ours is to be installed
	must(t, "touch ~alice/.hushlogin ~bob/.hushlogin")
	before := files(t)
	alice := &person{name: "alice", vt: 1, keyboard: machine.PS2(t)}
	for _, part := range []struct {
		name string
		play func(*testing.T, *person)
	}{
		{"Install", install},
		{"LinksNameTheKeyboards", linksNameTheKeyboards},
		{"UnitIsConfined", unitIsConfined},
		{"DoctorMends", doctorMends},
		{"OnlyTheGroupMayOpen", onlyTheGroupMayOpen},
		{"ReaderIsKilled", readerIsKilled},
		{"WatchdogWatchesWhileInUse", watchdogWatchesWhileInUse},
		{"KbddIsKilled", kbddIsKilled},
		{"KbddPanics", kbddPanics},
		{"KbddHangs", kbddHangs},
		{"MachineSuspends", machineSuspends},
		{"ConfigurationIsReloaded", configurationIsReloaded},
		{"SeatRuleLetsWhoIsThere", seatRuleLetsWhoIsThere},
		{"Upgrade", upgrade},
		{"Remove", remove},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			begin := time.Now()
			alice.t, alice.keyboard = t, machine.PS2(t)
			part.play(t, alice)
			t.Logf("%v", time.Since(begin).Round(10*time.Millisecond))
		})
		if !ok {
			t.Log(output("journalctl --no-pager -b -u kbdd | tail -60; systemctl --no-pager status kbdd; dmesg | tail -5"))
			if part.name == "Install" {
				t.FailNow()
			}
		}
	}
	purgeLeavesNothing(t, before)
}

// must runs a command of the shell.
func must(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// output is what a command says, whatever its status.
func output(command string) string {
	out, _ := exec.Command("sh", "-c", command).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// show is one of the service's properties.
func show(property string) string {
	return output("systemctl show --value -p " + property + " kbdd.service")
}

// waitUntil waits longer than tests elsewhere do: in an emulated machine on a busy host a login takes half a minute.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// killReader sends SIGKILL to the programs that persons have reading.
func killReader(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if comm, err := os.ReadFile(name); err != nil || string(comm) != "cat\n" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
}

func files(t *testing.T) []string {
	return strings.Split(must(t, "find /etc /usr /lib /var/lib /dev/kbd* /run/kbdd /run/systemd/generator* 2>/dev/null || true"), "\n")
}

func install(t *testing.T, _ *person) {
	must(t, "dpkg -i "+firstPackage)
	if got := show("ActiveState") + " " + show("UnitFileState"); got != "active enabled" {
		t.Errorf("the service is %s, want active enabled", got)
	}
	waitUntil(t, "udev has seen /dev/kbd0 and kbd1", func() bool {
		return output("stat -c '%a %U:%G' /dev/kbd0 /dev/kbd1") == "660 root:input\n660 root:input"
	})
	if got := must(t, "stat -c '%a %U:%G' /run/kbdd /run/kbdd/control.sock"); got != "755 root:input\n660 root:input" {
		t.Errorf("the control socket and its folder are %q", got)
	}
	for _, example := range strings.Fields(must(t, "ls /usr/share/doc/kbdd/examples/*.toml")) {
		must(t, "kbdd -check -config "+example)
	}
	must(t, "zcat /usr/share/man/man4/kbd.4.gz /usr/share/man/man8/kbdd.8.gz | grep -q '^.Dt KBDD 8'")
}

func linksNameTheKeyboards(t *testing.T, _ *person) {
	waitUntil(t, "the PS/2 keyboard has a link", func() bool {
		return output("readlink -f /dev/kbd/by-path/platform-i8042-serio-0") == "/dev/kbd1"
	})
	usb := machine.PlugUSB(t, 0)
	var link string
	waitUntil(t, "the USB keyboard has a link", func() bool {
		link = output("ls -d /dev/kbd/by-id/usb-*")
		return output("readlink -f "+link) == "/dev/kbd2"
	})
	must(t, "runuser -u alice -- test -r "+link)
	usb.Unplug()
	waitUntil(t, "the link is gone with the keyboard", func() bool {
		return output("ls /dev/kbd") == "by-path"
	})
}

func unitIsConfined(t *testing.T, _ *person) {
	said := must(t, "systemd-analyze security --no-pager kbdd.service")
	line := said[strings.LastIndex(said, "\n")+1:]
	var exposure float64
	if _, err := fmt.Sscanf(line[strings.LastIndex(line, ": ")+2:], "%f", &exposure); err != nil || exposure > 2 {
		t.Errorf("exposure %v, %v:\n%s", exposure, err, said)
	}
	t.Log(line)
	must(t, "systemd-analyze verify --man=no kbdd.service")
}

func onlyTheGroupMayOpen(t *testing.T, _ *person) {
	for _, device := range []string{"/dev/kbd0", "/dev/kbd1"} {
		if got := output("runuser -u bob -- dd if=" + device + " count=1"); !strings.Contains(got, "Permission denied") {
			t.Errorf("bob, who is not in the group, opens %s: %s", device, got)
		}
	}
	if got := output("runuser -u bob -- kbdctl status"); !strings.Contains(got, "permission denied") {
		t.Errorf("bob looks at the status: %s", got)
	}
	must(t, "runuser -u alice -- kbdctl status")
}

func readerIsKilled(t *testing.T, alice *person) {
	alice.logIn("a")
	alice.reads("codes")
	alice.keyboard.Type("hi")
	alice.heard("codes", "23a31797")
	killReader(t)
	alice.shellGoesOn("killed-reader")
}

func watchdogWatchesWhileInUse(t *testing.T, alice *person) {
	watches := func(want string) {
		t.Helper()
		waitUntil(t, "systemd's watchdog has the limit "+want, func() bool { return show("WatchdogUSec") == want })
	}
	watches("0")
	alice.reads("codes")
	watches("3s")
	alice.keyboard.Type("x")
	alice.heard("codes", "2dad")
	killReader(t)
	watches("0")
	alice.shellGoesOn("watched")
}

// machineSuspends suspends as a person does, with a program that waits; the kernel goes as far as to freeze all programs,
// for 5 s.
func machineSuspends(t *testing.T, alice *person) {
	alice.reads("codes")
	old := show("MainPID")
	must(t, "echo freezer >/sys/power/pm_test")
	defer must(t, "echo none >/sys/power/pm_test")
	must(t, "systemctl suspend -i")
	var slept string
	waitUntil(t, "the machine has been asleep", func() bool {
		slept = output("journalctl --no-pager -b -u systemd-suspend | grep -i 'returned from sleep\\|failed'")
		return slept != ""
	})
	if strings.Contains(strings.ToLower(slept), "fail") {
		t.Errorf("the machine does not suspend: %s", slept)
	}
	// The shell has seen its job stopped and going on, and tells; the job hears what is typed.
	alice.keyboard.Type("z")
	alice.got("codes", "2cac")
	if show("MainPID") != old {
		t.Error("kbdd was killed meanwhile")
	}
	killReader(t)
	alice.shellGoesOn("woken")
}

func configurationIsReloaded(t *testing.T, alice *person) {
	old := show("MainPID")
	must(t, "echo 'stall-timeout = \"1m\"' >/etc/kbdd.toml && systemctl reload kbdd")
	must(t, "echo nonsense >/etc/kbdd.toml && ! systemctl reload kbdd")
	if show("MainPID") != old {
		t.Error("kbdd was started anew")
	}
	// A bad file is no reason to be started again and again.
	must(t, "systemctl stop kbdd && ! systemctl start kbdd")
	if got := show("ActiveState"); got != "failed" {
		t.Errorf("with a bad configuration the service is %s", got)
	}
	must(t, "rm /etc/kbdd.toml && systemctl start kbdd")

	// But where programs have a device it is: they have it until the file is mended, and then go on.
	alice.reads("codes")
	must(t, "echo nonsense >/etc/kbdd.toml && ! systemctl restart kbdd")
	must(t, "rm /etc/kbdd.toml")
	waitUntil(t, "the service is back by itself", func() bool { return show("ActiveState") == "active" })
	alice.isMuted()
	alice.keyboard.Type("b")
	alice.heard("codes", "30b0")
	killReader(t)
	alice.shellGoesOn("configured")

	// Who left the machine is no reason not to start, but one to complain when the file is edited.
	must(t, `printf '[[device]]\nname = "kbd0"\nusers = ["alice", "gone"]\n' >/etc/kbdd.toml && ! systemctl reload kbdd && systemctl restart kbdd`)
	if got := output("journalctl --no-pager -b -u kbdd | grep -c 'WARN.*no user.*gone'"); got != "1" {
		t.Errorf("it was told %s times that nobody is called that", got)
	}
	must(t, "rm /etc/kbdd.toml && systemctl reload kbdd")
}

// seatRuleLetsWhoIsThere does what stands in the udev rules as a comment: bob, at the machine, may open the device then.
func seatRuleLetsWhoIsThere(t *testing.T, alice *person) {
	const rule = "/etc/udev/rules.d/71-kbdd-uaccess.rules"
	must(t, "sed -n '/^#SUBSYSTEM/s/^#//p' /lib/udev/rules.d/60-kbdd.rules >"+rule+" && test -s "+rule)
	must(t, "udevadm control --reload && udevadm trigger --settle -s cuse")
	defer must(t, "rm "+rule+" && udevadm control --reload && udevadm trigger --settle -s cuse")
	bob := &person{name: "bob", vt: 2, t: t, keyboard: alice.keyboard}
	machine.SwitchVT(t, 2)
	bob.logIn("b")
	waitUntil(t, "bob has the right", func() bool { return strings.Contains(output("getfacl -c /dev/kbd0"), "user:bob:rw-") })
	bob.reads("codes")
	bob.keyboard.Type("b")
	bob.heard("codes", "30b0")
	killReader(t)
	bob.shellGoesOn("bob")
	machine.SwitchVT(t, 1)
	waitUntil(t, "alice has it", func() bool {
		acl := output("getfacl -c /dev/kbd0")
		return strings.Contains(acl, "user:alice:rw-") && !strings.Contains(acl, "bob")
	})
}

func upgrade(t *testing.T, alice *person) {
	alice.reads("codes")
	alice.keyboard.Type("a")
	alice.heard("codes", "1e9e")
	missing := watchLink("/dev/kbd/by-path/platform-i8042-serio-0")
	begin := time.Now()
	must(t, "dpkg -i "+secondPackage)
	t.Logf("dpkg has taken %v", time.Since(begin).Round(10*time.Millisecond))
	if n := missing(); n > 0 {
		t.Errorf("the keyboard's link was missing: seen %d times", n)
	}
	if got := show("ActiveState"); got != "active" {
		t.Errorf("after the upgrade the service is %s", got)
	}
	if got := must(t, "dpkg-query -W -f '${Version}' kbdd"); got != "2" {
		t.Errorf("version %s is installed", got)
	}
	if !strings.Contains(output("readlink /proc/$(systemctl show --value -p MainPID kbdd)/exe"), "/usr/sbin/kbdd") {
		t.Error("the old program runs still")
	}
	alice.isMuted() // the reader goes on
	alice.keyboard.Type("b")
	alice.heard("codes", "1e9e30b0")
	killReader(t)
	alice.shellGoesOn("upgraded")
}

// watchLink looks whether a link is there, until missing is called.
func watchLink(link string) (missing func() int) {
	stop, gone := make(chan bool), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				gone <- n
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := os.Readlink(link); err != nil {
				n++
			}
		}
	}()
	return func() int { close(stop); return <-gone }
}

func remove(t *testing.T, alice *person) {
	alice.reads("codes")
	must(t, "dpkg -r kbdd")
	alice.shellGoesOn("removed")
	if got := output("ls -d /dev/kbd* /run/kbdd 2>/dev/null"); got != "" {
		t.Errorf("what is left runs or stands: %s", got)
	}
}

func purgeLeavesNothing(t *testing.T, before []string) {
	must(t, "echo '# mine' >/etc/kbdd.toml && dpkg -P kbdd && udevadm settle")
	var left []string
	for _, file := range files(t) {
		if !slices.Contains(before, file) && !strings.HasPrefix(file, "/var/lib/systemd/") && !strings.HasPrefix(file, "/var/lib/dpkg/") {
			left = append(left, file)
		}
	}
	left = append(left, strings.Fields(output("find /var/lib/systemd /var/lib/dpkg/info /etc/systemd -name '*kbdd*'"))...)
	if len(left) > 0 {
		t.Errorf("purged, it leaves %q", left)
	}
}
