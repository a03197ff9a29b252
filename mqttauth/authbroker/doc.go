// Package authbroker is the broker's half of MQTT-Auth: it logs clients in that have package mqttauth, by a password
// that it does not know, and lets them do what the owners of topics have given them tokens for.
//
//	store, err := authbroker.OpenStore("authority.db")
//	l, err := authbroker.NewListener(inner, authbroker.Config{Server: "broker.example", Store: store})
//	server.AddListener(listeners.NewNet("mqtt", l)) // any broker that takes a net.Listener
//
// In front of a broker in Go, or of any broker behind a gateway: [NewListener]. Beside a broker as it is, whose
// accounts it makes: [NewAuthority], with a [Provisioner]: [Mosquitto] or [RabbitMQ]. Users are enrolled with
// [Store.SetUser] and a verifier of package pake; neither the store nor this process ever has a password.
//
// # What a Listener enforces
//
//   - Who does not prove the password never reaches the broker: CONNECT is let through after the proof.
//   - PUBLISH, and the Will, need an Auth1 token for the topic; SUBSCRIBE needs one Auth2 token that covers the filter;
//     every delivery is checked again. What is Config.Public needs none. A refusal is answered as RFC 9431 has it: 0x87
//     on v5 at QoS 1 and 2, the end of the connection otherwise.
//   - A token counts from when it is presented until it or its claim expires, its owner revokes it or begins a new
//     epoch: at that moment, in both directions, on every connection. A subscription that is not covered any more ends
//     its connection, and so does a Will, which is then discarded.
//   - What a client has presented is remembered in the store for its user and Client Identifier, so that its next
//     CONNECT can have a Will and go on with its session, also after a restart. A client that has never been here and
//     has a Will on a topic that is not public is refused, may present its tokens all the same before it goes, and gets
//     in when it comes again.
//   - The first claim of a filter wins until it ends; one that overlaps somebody else's is refused.
//   - Guesses at passwords are counted before they are answered, for users who exist and who do not.
//
// # Beside a broker
//
// An [Authority] decides the same about users, claims and tokens, and puts what tokens permit into an account with a
// random name, for one Client Identifier and at most an hour (AuthorityConfig.Ticket). The broker enforces it. What
// ends before takes the account with it, and the client comes back for another one.
//
// Retained messages stay at the broker until they are replaced, as in plain MQTT; who may see them is decided at each
// delivery. The store and the broker are trusted with topics and with the rights to them, and with payloads unless
// these are sealed end to end.
package authbroker
