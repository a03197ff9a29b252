// Package soak runs publishers and subscribers of every scheme through the gateway in front of a broker, and those of
// MQTT-Auth also without one, at a broker with an authority beside it, while it kills and restarts brokers, gateway,
// Authorization Server and authority, cuts and delays connections, and an attacker forges, replays and listens; and
// counts what comes of it: messages of QoS 1 and 2 that were acknowledged and never arrived, messages that the
// application saw twice, forged ones that it saw at all, text that could be read where it must not be, and clients
// whose messages get through no more.
//
// Plain clients run beside the others on the same cuts, as the yardstick: what a broker loses when it is killed before
// it has written its state, and what a client library delivers twice, no scheme on top can mend. The attacker gets at
// the plain clients too, which shows that he is a good one.
//
// [Run] is for one broker, [Cluster] for three nodes behind two gateways, of which one each dies.
package soak
