// Package mqttauth has tests only: clients of both libraries log in with MQTT-Auth at brokers in front of which, or
// beside which, an authority stands, and attackers try what they must not be able to.
package mqttauth
