// Package pake is AugPAKE: two sides, one knowing a password and the other a
// verifier of it, end with a fresh key. A recorded, changed or answered run lets
// nobody test passwords offline; each run tests one.
package pake
