// Package ace connects an MQTT client with OAuth tokens that are bound to a key (RFC 9431, the MQTT and TLS profile of
// ACE): an authorization server issues a short-lived token, the broker checks it, and whoever has copied the token but
// not its key gets nowhere.
//
// Which function for which need:
//
//   - [NewAS] is a source of tokens that asks an authorization server, [Static] one that holds a single token.
//   - [NewCache] keeps a token until it is to be renewed, for any number of connections.
package ace
