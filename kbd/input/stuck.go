package input

// Stuck tells that the keyboard's thread has done nothing since the last call, though there was something to do: it still
// delivers the same keys, or has left events unread. It is for a watchdog, which asks now and then.
func (k *Keyboard) Stuck() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	const idle = 0 // turns begins with 2
	turn := k.turns.Load()
	if k.node == nil || k.end != nil || turn%2 == 0 && !k.node.Unread() {
		turn = idle
	}
	stuck := turn != idle && turn == k.stalled
	k.stalled = turn
	return stuck
}
