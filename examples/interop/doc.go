// Package interop shows that sealed messages need neither Go nor this module:
// sealed.mjs makes and opens them, and the keys they are sealed with, with the
// crypto that Node.js brings along and no package. The tests here run it
// against Go, in both directions.
package interop
