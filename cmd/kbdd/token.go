package main

// A token tells one goroutine that something has happened, however often it has since that looked.
type token chan struct{}

func newToken() token { return make(token, 1) }

// put does not wait.
func (t token) put() {
	select {
	case t <- struct{}{}:
	default:
	}
}
