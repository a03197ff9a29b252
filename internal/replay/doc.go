// Package replay is what a receiver remembers of sealed messages, so that with an honest broker each is delivered once,
// and a dishonest one gains nothing that it does not have by dropping and delaying.
//
// # What is remembered
//
// A [Memory] is a tree. Below its root stand realms, one for each publisher (where publishers are told apart) and key,
// for live messages and Wills apart, and one for retained messages. Below a realm stand the levels of topics; at a
// topic, the sessions of its publishers. Nothing that a message does in the tree reaches beside its own realm and
// topic, but for the room that it takes:
//
//   - Room is shared max-min fair. When it is short, what is forgotten is found by going from the root into the
//     heaviest child each time, down to something without children. Whoever floods the topics that it has a key for is
//     the heaviest there, and only pushes itself out; who takes less than a fair share loses nothing.
//   - What is forgotten becomes part of a summary at its parent (type lost): everything up to a time, everything in an
//     interval of the future, everything without a clock. A message of an unknown session that a summary on its path
//     covers may be a replay, and is refused with [ErrForgotten]. Time from beyond the receiver's clock goes to the
//     interval only: nobody whose clock is right is shut out by it before that time has come.
//
// # What becomes of a number
//
// For each topic, key, publisher, session, and Subscription Identifier that the client asked for, a sequence number is
// in one of these states. Nothing but an authentic message moves it.
//
//	new      not delivered. Any copy that arrives is delivered: at QoS 0, or if it was published at QoS 0, it is then
//	         done, and else pending on this connection.
//	pending  delivered, not acknowledged by the client. A copy is delivered again on a connection that the client has
//	         opened after the one of the last delivery, and on no other: once more for each connection. The client's
//	         PUBACK or PUBREC makes it done.
//	done     delivered for good; copies are refused with [ErrDelivered].
//	behind   too far below the highest number (73,728), or in a part of the window that was given up, or older than
//	         what was forgotten when the session became known: refused with [ErrStale].
//
// A Will is the only number of a session of its own, in a realm of its own: its age, which is that of its connection,
// does not count against live messages, nor theirs against it.
//
// # Retained messages
//
// A message with RETAIN on arrival that is new is delivered as any other: with Retain As Published and the bridge bit,
// live messages carry it too, and a broker that keeps a message back has delayed it. One that is not new must have been
// sealed for a publication with RETAIN, the client must have sent a SUBSCRIBE that matches and has not been answered on
// this topic, and it must not be a step back: it is the one that was shown last, in order of arrival; or it is not
// below what was shown of its session, and not older, by more than the tolerance, than the latest that was shown. A
// message without a clock is neither older nor newer. A Will is not shown again once another message has been shown.
//
// # What each can still do
//
//	a broker       drop, delay, and reorder within the window. Deliver a message again that the client has not
//	               acknowledged, once for each connection that the client opens, unless it was published at QoS 0.
//	               Answer a SUBSCRIBE with a retained message that another publisher has replaced, if it is older by
//	               less than the tolerance or has no clock. Send a Will of a client that has not died.
//	a key's holder for its own topics all that the key allows, and, without publishers, use another's session there,
//	               so that a message is taken for delivered. Elsewhere: nothing, but take room up to a fair share.
//	a publisher    (where they are told apart) nothing to another's messages.
//
// A receiver that restarts has forgotten all; Config.MaxAge of the schemes bounds what can then be repeated.
package replay
