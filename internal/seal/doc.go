// Package seal turns MQTT payloads into sealed messages and back. A scheme (aesmsg, present) is a [Suite] and a public
// face; all else is here.
//
// A message goes out in this order, and comes in in the reverse: filter (a connection's packets), part (its v5
// properties go inside), leaves (the keys of its topic, walked from package key's trees), session (its number and
// nonce), box (the AEAD of one topic in one session), frame (header and ciphertext), sign. On arrival the frame's
// header is judged by package replay before it is opened, and remembered once it has proved authentic; mqttSession
// holds that memory for a Client Identifier, and atrest seals what the client stores. The frame is
//
//	0xFC | flags, suite | key id 4 | session 12 | time 4 | sequence 4 | ciphertext | tag
//
// with everything before the ciphertext, and the topic, as associated data. The second byte has the suite's number in
// bits 4 to 6 and as flags 1 for RETAIN, 2 for a Will, 4 for properties inside, 8 for a signature, 128 for publication
// at QoS 0.
package seal
