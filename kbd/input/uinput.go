package input

import (
	"errors"
	"structs"
	"unsafe"

	evdev "github.com/gvalkov/golang-evdev"
	"golang.org/x/sys/unix"
)

const eviocgprop = 0x80604509 // _IOR('E', 0x09, 96 bytes)

// The ioctls of include/uapi/linux/uinput.h.
const (
	uiDevCreate  = 0x5501
	uiDevSetup   = 0x405c5503
	uiAbsSetup   = 0x401c5504
	uiSetEvBit   = 0x40045564
	uiSetKeyBit  = 0x40045565
	uiSetRelBit  = 0x40045566
	uiSetPhys    = 0x4008556c
	uiSetPropBit = 0x4004556e
)

type (
	// uinputDevSetup is struct uinput_setup.
	uinputDevSetup struct {
		_                             structs.HostLayout
		Bus, Vendor, Product, Version uint16
		Name                          [80]byte
		EffectsMax                    uint32
	}
	// absInfo is struct input_absinfo.
	absInfo struct {
		_                                               structs.HostLayout
		Value, Minimum, Maximum, Fuzz, Flat, Resolution int32
	}
	// axis is struct uinput_abs_setup.
	axis struct {
		_    structs.HostLayout
		Code uint16
		_    uint16
		Info absInfo
	}
)

var (
	_ [92]byte = [unsafe.Sizeof(uinputDevSetup{})]byte{}
	_ [28]byte = [unsafe.Sizeof(axis{})]byte{}
)

// uinputSetup says what device to make.
type uinputSetup struct {
	name, phys           string
	bus, vendor, product uint16
	keys, wheels         []uint16 // codes of EV_KEY and EV_REL
	axes                 []axis   // of EV_ABS
	props                []uint16 // INPUT_PROP_*
}

// types are the types of its events.
func (s *uinputSetup) types() (types []uint16) {
	if len(s.keys) > 0 {
		types = append(types, evdev.EV_KEY)
	}
	if len(s.wheels) > 0 {
		types = append(types, evdev.EV_REL)
	}
	if len(s.axes) > 0 {
		types = append(types, evdev.EV_ABS)
	}
	return types
}

// A uinputDevice is an input device made by this process. It goes when it is closed, or with the process.
type uinputDevice struct {
	inputFile
}

func newUinput(setup uinputSetup) (*uinputDevice, error) {
	d := &uinputDevice{inputFile{path: "/dev/uinput"}}
	err := d.call("open", func() (err error) {
		d.fd, err = unix.Open(d.path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := d.setUp(setup); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *uinputDevice) setUp(setup uinputSetup) error {
	for _, bits := range []struct {
		name    string
		request uint
		codes   []uint16
	}{
		{"UI_SET_EVBIT", uiSetEvBit, setup.types()},
		{"UI_SET_KEYBIT", uiSetKeyBit, setup.keys},
		{"UI_SET_RELBIT", uiSetRelBit, setup.wheels},
		{"UI_SET_PROPBIT", uiSetPropBit, setup.props},
	} {
		for _, code := range bits.codes {
			if err := d.ioctlInt(bits.name, bits.request, int(code)); err != nil {
				return err
			}
		}
	}
	for i := range setup.axes {
		err := d.ioctl("UI_ABS_SETUP", uiAbsSetup, unsafe.Pointer(&setup.axes[i]))
		// Some devices have an axis that ends before it begins, which uinput does not take: the copy does without it
		// (drivers/input/misc/uinput.c, uinput_validate_absinfo).
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	phys := append([]byte(setup.phys), 0)
	if err := d.ioctl("UI_SET_PHYS", uiSetPhys, unsafe.Pointer(&phys[0])); err != nil {
		return err
	}
	dev := uinputDevSetup{Bus: setup.bus, Vendor: setup.vendor, Product: setup.product}
	copy(dev.Name[:len(dev.Name)-1], setup.name)
	if err := d.ioctl("UI_DEV_SETUP", uiDevSetup, unsafe.Pointer(&dev)); err != nil {
		return err
	}
	return d.ioctlInt("UI_DEV_CREATE", uiDevCreate, 0)
}

// codes are the codes of an event type that the node has: EVIOCGBIT.
func (n *evdevNode) codes(typ uint16) (codes keySet, err error) {
	err = n.ioctl("EVIOCGBIT", eviocgbit+uint(typ), unsafe.Pointer(&codes))
	return codes, err
}

// axis is an absolute axis of the node, as it is now: EVIOCGABS.
func (n *evdevNode) axis(code uint16) (axis, error) {
	a := axis{Code: code}
	err := n.ioctl("EVIOCGABS", eviocgabs+uint(code), unsafe.Pointer(&a.Info))
	return a, err
}

// props are the INPUT_PROP_* that the node has: EVIOCGPROP.
func (n *evdevNode) props() (props keySet, err error) {
	err = n.ioctl("EVIOCGPROP", eviocgprop, unsafe.Pointer(&props))
	return props, err
}
