// Package mqttauth logs an MQTT client in with a password that never leaves the device, gives both sides the keys of
// the session, and lets owners of topics decide who publishes and who subscribes. It is MQTT-Auth on AugPAKE (package
// pake), with no certificate anywhere.
//
//	c, err := mqttauth.New(mqttauth.Config{User: "alice", Password: password, Server: "broker.example"})
//
//	cm, err := autopaho.NewConnection(ctx, c.Wrap(cfg))    // MQTT v5, paho.golang
//	client := mqtt.NewClient(c.WrapV3(opts))               // MQTT 3.1.1, paho.mqtt.golang
//
//	log in                        New, Wrap, WrapV3, Conn; beside a broker that knows nothing of it: Config.TwoPhase
//	own topics                    NewOwnerToken, Client.Claim, OwnerToken.Auth1, OwnerToken.Auth2, OwnerToken.Delegate
//	use somebody's topics         Config.Wallet, Client.Present, NewFileWallet; Token.Key for the payloads
//	take it back                  Client.Revoke, Client.NewEpoch, Client.Release
//	hand a token over             Token.MarshalText, package sidechannel
//	keep the broker out           aesmsg or present with Token.Key
//	keep listeners out            aesmsg.Session or present.Session above this, or TLS below
//
// The other side is package authbroker, in front of a broker or beside one.
//
// # What is protected
//
// Nobody who listens, tampers or plays one of the sides can try passwords offline; who plays the authority has one
// guess a run, and so has who plays a user, within the authority's budget. Client and authority each know that the
// other one has the password or its verifier before the application sees its CONNACK; a broker that answers without
// that is an error. Frames cannot be changed, replayed or moved to another session, and a weaker group or cheaper
// stretching cannot be talked into. A token is good for its filter, its kind and its time, as long as its claim has
// its epoch, and is proved to the authority without being shown.
//
// Not protected by the handshake alone: what is published afterwards, if the connection has no TLS and nothing seals
// the payloads; topic names; who talks to whom and when. Whoever can change the bytes of a plain connection can wait
// for the handshake and then take the stream over; sealing keyed by the handshake ([Conn.ExportKeyingMaterial]) makes
// that worth nothing, TLS makes it impossible. The authority can make tokens for every topic that is claimed at it,
// but has no key of any payload.
//
// # The protocol
//
// All integers are big-endian; v8 and v16 stand for octets behind a length of one byte or two. A frame has at most 4096
// octets:
//
//	version 1 | type | session id 16 | body
//
//	 1 hello      C→A   v8 groups | v16 client id | v16 user | v16 X, for each group in order
//	 2 challenge  A→C   group | v16 server name | v16 stretching | v16 Y
//	 3 proof      C→A   V_U 32
//	 4 welcome    A→C   V_S 32 | v16 sealed welcome
//	16 request    C→A   u64 counter | v16 sealed operation
//	17 response   A→C   u64 counter | v16 sealed result
//
// The client draws the session id. X, Y, V_U, V_S, SK, the groups' numbers and the 26 octets of stretching are those
// of package pake; its user and server are the names in hello and challenge, its Context is
//
//	"mqttauth v1" | v8 groups | session id | v16 client id
//
// From the run's key, with HKDF-SHA-256 (RFC 5869), PRK = Extract(salt: session id, SK), and each of 32 octets by
// Expand with the label "mqttauth v1 " and: "client" (seals requests), "authority" (seals welcome and responses),
// "exporter", "binding", "ticket". Sealing is AES-256-GCM; the nonce is the counter in 12 octets, the associated data
// are the frame's first 18 octets. The welcome has counter 0; requests count from 1, a response has its request's
// counter. The authority carries a counter out once and answers a repetition with the same octets. Exported keying
// material is
//
//	HKDF-Expand(exporter, u16 length | v16 label | v16 context, length)
//
//	welcome       u32 lifetime | u64 time | flags (1: Session Present) | return code | u16 tokens | u32 claim lifetime
//
//	operation     1 claim    v16 filter | u32 epoch | P 32 | S 32 | u32 lifetime
//	              2 release  v16 filter
//	              3 epoch    v16 filter | u32 epoch | P 32 | S 32
//	              4 present  count | presentations
//	              5 revoke   v16 filter | token id 16
//	              6 ticket
//
//	presentation  kind (1 Auth1, 2 Auth2) | v16 claim | v16 filter | u32 epoch
//	              | u64 expiry | flags (1: once) | serial 8 | proof 32
//
//	result        code (0 done), and if done, of 1 and 3:  u64 until
//	                                          of 4:        code | u64 until, for each
//	                                          of 6:        v16 user name | u64 until
//
// Times are Unix seconds, lifetimes seconds. With T, 32 random octets of the owner's, P = HMAC-SHA-256(T, 0x00 |
// "publish") and S, K likewise with "subscribe" and "payload" stand at the levels of the claim's filter before its
// first wildcard. Each level further down, node = HMAC(node, level); at the levels of a token's filter G before its
// first wildcard stand P_G, S_G, K_G:
//
//	secret    = HMAC(P_G or S_G, 0x00 | "until" | u64 expiry | flags | serial | G)
//	token id  = the first 16 octets of HMAC(secret, 0x00 | "id")
//	proof     = HMAC(secret, 0x00 | "mqttauth v1 present" | binding)
//
// On MQTT v5 hello and proof go in CONNECT and AUTH, challenge and welcome come in AUTH and CONNACK, as
// Authentication Data of the method MQTT-Auth. Before v5 a broker half answers CONNECT with an empty CONNACK; the
// client subscribes to mqttauth/c/ and its Client Identifier at QoS 1, publishes hello and proof on mqttauth/auth at
// QoS 1, and gets challenge and welcome on the topic that it subscribed to; the welcome says what CONNACK has to say.
// Requests and responses take that way in both versions, at QoS 0, and a client repeats a request until its response
// comes. Nothing is retained, and what is retained is ignored.
//
// Beside a broker that knows nothing of all this (Config.TwoPhase) the frames go over a connection of their own with
// another Client Identifier and a clean session. The client then asks for a ticket, and connects with the user name
// in it and the password
//
//	base64url(HKDF-Expand(ticket, "password " | user name, 32))
package mqttauth
