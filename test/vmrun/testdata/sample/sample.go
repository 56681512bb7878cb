// Package sample has something for vmrun's own tests to run.
package sample

// Double doubles.
func Double(n int) int { return 2 * n }
