// Package policy holds no code, only tests that read the whole module and
// fail when it breaks a rule of its own: how files are formatted and
// documented, how long they are, what each package may import, and that the
// README shows nothing but code which compiles.
package policy
