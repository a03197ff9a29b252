// Package seal turns MQTT payloads into sealed messages and back. A scheme (aesmsg, present) is a [Suite] and a public
// face; all else is here.
//
// A message goes out in this order, and comes in in the reverse: filter (a connection's packets), part (its v5 properties
// go inside), leaves (the keys of its topic, walked from package key's trees), session (its number and nonce), box (the AEAD
// of one topic in one session), frame (header and ciphertext), sign. On arrival the frame's header is judged by package
// replay before it is opened, and remembered once it has proved authentic; mqttSession holds that memory for a Client
// Identifier, and atrest seals what the client stores. The frame is
//
//	0xFC | suite, flags | key id 4 | session 12 | time 4 | sequence 4 | ciphertext | tag
//
// with everything before the ciphertext, and the topic, as associated data.
package seal
