// Package pake logs a user in with a password that nobody can guess offline:
// not who listens, not who tampers, not who plays either side. It is AugPAKE,
// RFC 6628: the server stores a verifier instead of the password, and a run of
// four messages leaves both sides with the same fresh key, each knowing that
// the other one has it.
//
//	enrol a user           NewVerifier, once; store the Verifier
//	log in, as the user    Start, Client.Reply, Client.Finish
//	log in, as the server  Respond, Server.Finish
//	limit guesses          Config.Budget
//	hide who exists        Decoys
//
// The package exchanges octets and leaves their transport to the caller:
//
//	user                                       server
//	msg1, client := Start(...)      -- msg1 ->
//	                                <- msg2 -- msg2, server := Respond(..., msg1)
//	msg3 := client.Reply(msg2)      -- msg3 ->
//	                                <- msg4 -- msg4, key := server.Finish(msg3)
//	key := client.Finish(msg4)
//
// A Client or Server serves one run. A wrong password, name, context or message
// ends it with an error and without a key; the server then has no message 4 to
// send, and must not send anything that explains more.
//
// # What is protected
//
// A run gives an active attacker one guess at the password, and a passive one
// nothing. A server counts the guess before it answers. A user sees one as an
// ErrProof, or as a server that falls silent after message 3: who runs it knows
// by then whether the guess was right. Keys stay secret when the password or
// the verifier is stolen afterwards. Who steals a verifier cannot log in as the
// user before guessing the password offline, at the price of one Argon2id a
// guess; he can play the server to the user at once. Passwords are prepared as
// OpaqueString (RFC 8265), so that the same characters typed on two keyboards
// are the same password.
//
// Not protected: the names and the salt, which travel or can be asked for in
// the clear; a user against a server that she gives her password to by other
// means; memory that the runtime or a library copied before this package
// overwrote its own secrets. Precomputation against one user's salt is
// possible before a verifier is stolen.
//
// # Definition
//
// With a group of prime order q, a generator g, SHA-256 as H, and lengths in
// two octets before U (the user), S (the server) and C (Config.Context):
//
//	w' = SHA-512(0x00 | U | S | w) mod q     w is the stretched password
//	W  = g^w'                                the verifier
//	X  = g^x                                 message 1
//	r  = H'(0x01 | U | S | C | X) mod q
//	Y  = (X · W^r)^y'                        message 2, y' = SHA-512(0x05 | y) mod q
//	K  = g^y' = Y^(1/(x + w'·r))
//	V_U = H(0x02 | U | S | C | X | Y | K)    message 3
//	V_S = H(0x03 | U | S | C | X | Y | K)    message 4
//	SK  = H(0x04 | U | S | C | X | Y | K)    the key
//
// H' is SHA-256 on P-256 and SHA-512 on ristretto255; digests are big-endian
// integers. The lengths and C are additions to the RFC, whose U | S is
// ambiguous. The stretching is an addition too: Argon2id (RFC 9106) over the
// prepared password with a salt of 16 octets, which the server sends in message
// 2, since X depends on neither. AugPAKE has no salt of its own.
//
// Messages, integers big-endian:
//
//	1  version 1 | 1 | group | X
//	2  version 1 | 2 | group | stretching | Y
//	3  version 1 | 3 | V_U
//	4  version 1 | 4 | V_S
//	   version 1 | 5 | group | stretching | W     a stored verifier
//
// Group is 1 for P-256, whose elements are 65 octets (SEC 1, uncompressed), and
// 2 for ristretto255, whose elements are 32 (RFC 9496). Stretching is 26
// octets: algorithm (0 none, 1 Argon2id), passes (4), KiB (4), lanes (1), salt
// (16); all zero for none. The RFC's MODP groups are left out on purpose: they
// are 25 to 250 times slower, and the prime of the draft's DL3 group has a
// special form that helps the number field sieve.
//
// # Should you use it?
//
// AugPAKE is here because MQTT-Auth and MQTT-PRESENT are defined on it. Its
// proof is ePrint 2010/334; a message to the CFRG list questioned it in 2016.
// The draft with the elliptic-curve form, draft-irtf-cfrg-augpake, expired in
// 2018, and the CFRG chose CPace and OPAQUE in its place. For a new protocol
// consider those first.
package pake
