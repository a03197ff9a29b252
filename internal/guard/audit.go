package guard

import (
	"context"
	"log/slog"
	"strconv"
)

// shownTopic bounds the bytes of a topic in a log line.
const shownTopic = 200

// loggedDenials is how many refusals of one connection are logged each.
const loggedDenials = 32

// log writes a refusal to the audit log: who, what, why.
func (s *Session) log(message string, attributes ...any) {
	s.write(slog.LevelWarn, message, attributes)
}

// inform writes what is no refusal.
func (s *Session) inform(message string, attributes ...any) {
	s.write(slog.LevelInfo, message, attributes)
}

func (s *Session) write(level slog.Level, message string, attributes []any) {
	logger := s.g.cfg.Logger
	if !logger.Enabled(context.Background(), level) {
		return
	}
	peer := ""
	if addr := s.c.RemoteAddr(); addr != nil {
		peer = addr.String()
	}
	logger.With("identity", s.grant.Load().Identity, "client", shown(s.ClientID()), "peer", peer).
		Log(context.Background(), level, message, attributes...)
}

// logDenial is log for what a client can repeat as often as it likes: the first few of a connection, and then ever
// fewer.
func (s *Session) logDenial(message, topic string) {
	s.mu.Lock()
	s.denials++
	n := s.denials
	s.mu.Unlock()
	if n <= loggedDenials || n&(n-1) == 0 {
		s.log(message, "topic", shown(topic), "denials", n)
	}
}

// shown is text of a client's as a log may show it: quoted where it is not plain, and not endless.
func shown(text string) string {
	if len(text) > shownTopic {
		text = text[:shownTopic] + "..."
	}
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}
