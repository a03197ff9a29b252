// Package tlspsk_test runs both MQTT client libraries and mosquitto's own clients over TLS with a pre-shared key,
// through mosquitto and through an embedded broker behind our listener. The application code is the same for every
// transport and scheme.
//
// Covered: both versions of TLS and of MQTT, mqtts and wss, payloads sealed on top, restarts of the broker, wrong keys
// and unknown identities. The handshake's own attacks are in mqttauth/tlspsk.
package tlspsk_test
