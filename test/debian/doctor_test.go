package debian

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// grabNode has the program be one that grabs this node, and nothing else.
const grabNode = "KBDD_TEST_GRAB"

func TestMain(m *testing.M) {
	if node := os.Getenv(grabNode); node != "" {
		f, err := os.Open(node)
		if err == nil {
			err = unix.IoctlSetInt(int(f.Fd()), 0x40044590, 1) // EVIOCGRAB
		}
		fmt.Println("grabbing", node, err)
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

// An illness is one thing that is wrong on a machine on which all else is well.
type illness struct {
	name   string
	harm   string // a command
	as     string // whose doctor it is; "" for root's
	says   string
	byHand string // a command for what the doctor's cannot do: to edit a file
	heal   string // a command for what is to be as before
}

var illnesses = []illness{
	{
		name: "kbdd is stopped",
		harm: "systemctl stop kbdd",
		says: "broken  kbdd     kbdd does not run",
	},
	{
		// Not by "mask --now": of a unit that is masked and still runs systemd has forgotten the settings, hears nothing, and may take
		// it to hang.
		name: "kbdd is masked",
		harm: "systemctl stop kbdd && systemctl mask kbdd",
		says: "broken  kbdd     kbdd does not run, for its unit is masked",
	},
	{
		name: "kbdd is disabled",
		harm: "systemctl disable --now kbdd",
		says: "broken  kbdd     kbdd does not run, nor is it started at boot",
	},
	{
		// And systemd does not try for ever.
		name: "CUSE is missing",
		harm: "systemctl stop kbdd && modprobe -r cuse && rm -f /dev/cuse && ! systemctl start kbdd && systemctl is-failed kbdd && sleep 2 && test $(systemctl show --value -p NRestarts kbdd) = 0",
		says: "broken  cuse     there is no /dev/cuse",
	},
	{
		name: "uinput is missing",
		harm: "systemctl stop kbdd && modprobe -r uinput && rm -f /dev/uinput && systemctl start kbdd",
		says: "broken  uinput   there is no /dev/uinput",
	},
	{
		name: "a file is in the way",
		harm: "systemctl stop kbdd && udevadm settle && echo oops >/dev/kbd0 && ! systemctl start kbdd && systemctl is-failed kbdd",
		says: "broken  node     /dev/kbd0 is no device",
	},
	{
		// While the watchdog rests, for else it is the one who mends it: since a start after which nobody has opened a device.
		name: "kbdd hangs",
		harm: "systemctl restart kbdd; until [ $(systemctl show --value -p WatchdogUSec kbdd) = 0 ]; do sleep 0.1; done; systemctl kill -s STOP kbdd",
		says: "broken  kbdd     kbdd does not answer",
	},
	{
		name:   "the configuration is wrong",
		harm:   "echo nonsense >/etc/kbdd.toml && systemctl stop kbdd && ! systemctl start kbdd",
		says:   "broken  kbdd     kbdd does not run, for its configuration is wrong: /etc/kbdd.toml:1: ",
		byHand: "rm /etc/kbdd.toml",
	},
	{
		name:   "the configuration refuses alice",
		harm:   `printf '[[device]]\nname = "kbd0"\nusers = ["bob"]\n' >/etc/kbdd.toml && systemctl reload kbdd`,
		as:     "alice",
		says:   "broken  rights   kbdd refuses alice /dev/kbd0: an entry [[device]] in /etc/kbdd.toml names others",
		byHand: "rm /etc/kbdd.toml",
	},
	{
		name: "bob is not in the group",
		harm: "true",
		as:   "bob",
		says: "broken  rights   bob may not open /dev/kbd0, which is for the group input",
		heal: "gpasswd -d bob input",
	},
	{
		name: "the udev rule is missing",
		harm: "mv /lib/udev/rules.d/60-kbdd.rules /root && udevadm control --reload && systemctl stop kbdd && udevadm settle && systemctl start kbdd && udevadm settle",
		as:   "alice",
		says: "broken  rights   only root may open /dev/kbd0: kbdd's udev rule is not installed",
		heal: "rm /etc/udev/rules.d/60-kbdd.rules && mv /root/60-kbdd.rules /lib/udev/rules.d && udevadm control --reload",
	},
	{
		name: "another program grabs the keyboard",
		harm: "systemd-run --quiet --unit=grabber --setenv=" + grabNode + "=$NODE $SELF && until journalctl -u grabber | grep -q 'grabbing.*nil'; do sleep 0.1; done",
		says: ", it seems debian.test (pid ",
	},
}

// doctorMends has one thing be wrong at a time: the doctor names it, and its commands mend it.
func doctorMends(t *testing.T, alice *person) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SELF", self)
	t.Setenv("NODE", alice.keyboard.Node())
	for _, ill := range illnesses {
		t.Run(strings.ReplaceAll(ill.name, " ", "_"), func(t *testing.T) {
			begin := time.Now()
			must(t, ill.harm)
			said, well := doctor(ill.as)
			if well || !strings.Contains(said, ill.says) {
				t.Errorf("the doctor does not say %q:\n%s", ill.says, said)
			}
			if ill.byHand != "" {
				must(t, ill.byHand)
			}
			for range 3 {
				for line := range strings.Lines(said) {
					if _, mend, ok := strings.Cut(line, "mend: "); ok && !well {
						t.Logf("%s%s", mend, output(mend))
					}
				}
				if said, well = doctor(ill.as); well {
					break
				}
			}
			if !well {
				t.Errorf("the doctor has not mended it:\n%s", said)
			}
			if ill.heal != "" {
				must(t, ill.heal)
			}
			t.Log(time.Since(begin).Round(10 * time.Millisecond))
		})
	}
}

// doctor is what the doctor says, and whether nothing is broken.
func doctor(as string) (said string, well bool) {
	args := []string{"kbdctl", "doctor"}
	if as != "" {
		args = append([]string{"runuser", "-u", as, "--"}, args...)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	return string(out), err == nil
}
