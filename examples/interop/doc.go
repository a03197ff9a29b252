// Package interop shows that sealed messages and MQTT-Auth need neither Go nor this module: sealed.mjs makes and
// opens messages, and the keys they are sealed with; login.mjs logs in and shows tokens. Both have the crypto that
// Node.js brings along and no package. The tests here run them against Go, in both directions.
package interop
