package kbd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kbdd/kbd/control"
	"kbdd/scancode"
)

// A Service is looked into through package control, as its control.Service.

// Status is what the service is doing at this moment.
func (s *Service) Status() control.Status {
	st := control.Status{
		Version: control.Version, Terminal: s.Console.Active(),
		Devices: []control.Device{}, Keyboards: []control.Keyboard{}, // [] in JSON too, not null
	}
	var keyboards []Keyboard
	s.mu.Lock()
	for _, d := range s.devicesLocked() {
		st.Devices = append(st.Devices, d.statusLocked())
	}
	for _, p := range s.ports {
		st.Keyboards = append(st.Keyboards, p.statusLocked())
		keyboards = append(keyboards, p.keyboard)
	}
	s.mu.Unlock()
	for i, k := range keyboards {
		if k == nil {
			continue
		}
		is := &st.Keyboards[i]
		var err error
		if is.Muted, err = k.Muted(); err != nil && is.HeardBy != control.Console {
			is.Problem = err.Error()
		}
	}
	return st
}

func (d *Device) statusLocked() control.Device {
	st := control.Device{Name: d.name, Holders: []control.Holder{}}
	for _, f := range d.files {
		st.Holders = append(st.Holders, f.statusLocked())
	}
	return st
}

func (p *port) statusLocked() control.Keyboard {
	st := control.Keyboard{ID: p.id, Name: p.name, Node: p.node, Device: p.device.name, Plugged: p.keyboard != nil}
	switch {
	case !st.Plugged:
	case p.target == nil:
		st.HeardBy = control.Console
	default:
		st.HeardBy, st.Shared = p.target.name, p.shared
	}
	return st
}

func (f *File) statusLocked() control.Holder {
	return control.Holder{
		PID: f.opener.PID, UID: f.opener.UID, Since: f.since, Mode: f.modeNameLocked(), Unread: f.keyboard.Len(),
		Dropped: f.keyboard.Dropped(), Overruns: f.keyboard.Overruns(),
		Terminal: f.terminal, Listens: f.listens, WhyNot: f.whyNotLocked(),
	}
}

func (f *File) modeNameLocked() string {
	switch m := f.modeLocked(); m {
	case kRaw:
		return fmt.Sprint("set ", max(f.keyboard.Set(), scancode.Set1))
	case kXlate:
		return "K_XLATE"
	case kMediumRaw:
		return "K_MEDIUMRAW"
	case kUnicode:
		return "K_UNICODE"
	default:
		return "K_OFF"
	}
}

func (f *File) whyNotLocked() control.WhyNot {
	switch {
	case f.listens:
		return ""
	case f.revoked:
		return control.Released
	case !f.reads:
		return control.WriteOnly
	case f.mode == kXlate || f.mode == kUnicode:
		return control.Cooked
	}
	return control.Behind
}

// Changed gives a channel that is closed when Status has something new. What only counts up is not new.
func (s *Service) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change
}

// changedLocked tells those who wait for a change, now and when these keyboards have changed hands.
func (s *Service) changedLocked(changing []<-chan struct{}) {
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
	if len(changing) > 0 {
		go func() {
			_ = await(context.Background(), changing)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changedLocked(nil)
		}()
	}
}

// counts are what Metrics has.
type counts struct {
	opens, keys       uint64
	dropped, overruns uint64 // of the files that are closed
	muteWait, latency control.Histogram
}

func newCounts() counts {
	const us, ms = time.Microsecond, time.Millisecond
	return counts{
		muteWait: control.NewHistogram(1*ms, 5*ms, 10*ms, 50*ms, 100*ms, 200*ms, 500*ms, 1000*ms),
		latency:  control.NewHistogram(10*us, 20*us, 50*us, 100*us, 200*us, 500*us, 1*ms, 2*ms, 5*ms, 10*ms),
	}
}

// closeLocked keeps what a file has counted.
func (c *counts) closeLocked(f *File) {
	c.dropped += f.keyboard.Dropped()
	c.overruns += f.keyboard.Overruns()
}

// countKey counts a key that its readers have been told of. It went on its way at the time since.
func (s *Service) countKey(since time.Duration) {
	took := clock() - since
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.keys++
	s.counts.latency.Observe(took)
}

// countMuteWait counts an open that has waited for the keyboards.
func (s *Service) countMuteWait(f *File) {
	took := time.Since(f.since)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.muteWait.Observe(took)
}

// Metrics are what the service has counted since it was made.
func (s *Service) Metrics() control.Metrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	m := control.Metrics{Opens: c.opens, Keys: c.keys, Dropped: c.dropped, Overruns: c.overruns}
	m.MuteWait, m.Latency = c.muteWait, c.latency
	m.MuteWait.Counts, m.Latency.Counts = slices.Clone(c.muteWait.Counts), slices.Clone(c.latency.Counts)
	for _, d := range s.devicesLocked() {
		for _, f := range d.files {
			m.Holders++
			m.Dropped += f.keyboard.Dropped()
			m.Overruns += f.keyboard.Overruns()
		}
	}
	return m
}
