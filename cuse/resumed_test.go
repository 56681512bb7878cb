package cuse

import "os"

// resumeWatched is Resume before a witness.
func resumeWatched(
	conn *os.File, r *Record, open OpenFunc, restore RestoreFunc, witness func(unique uint64, sent bool) error,
) (*Device, error) {
	d, err := newDevice(conn, "rig", open)
	if err != nil {
		return nil, err
	}
	d.record, d.witness = r, witness
	d.goOn(restore)
	return d, nil
}
