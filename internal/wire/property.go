package wire

// PropertyID identifies a property of MQTT v5 (MQTT5 2.2.2.2).
type PropertyID byte

// The properties of MQTT5 table 2-4. The comments name the types of their values.
const (
	PayloadFormat                   PropertyID = 0x01 // byte
	MessageExpiryInterval           PropertyID = 0x02 // four-byte integer, seconds
	ContentType                     PropertyID = 0x03 // string
	ResponseTopic                   PropertyID = 0x08 // string
	CorrelationData                 PropertyID = 0x09 // binary
	SubscriptionIdentifier          PropertyID = 0x0B // variable byte integer
	SessionExpiryInterval           PropertyID = 0x11 // four-byte integer, seconds
	AssignedClientIdentifier        PropertyID = 0x12 // string
	ServerKeepAlive                 PropertyID = 0x13 // two-byte integer, seconds
	AuthenticationMethod            PropertyID = 0x15 // string
	AuthenticationData              PropertyID = 0x16 // binary
	RequestProblemInformation       PropertyID = 0x17 // byte
	WillDelayInterval               PropertyID = 0x18 // four-byte integer, seconds
	RequestResponseInformation      PropertyID = 0x19 // byte
	ResponseInformation             PropertyID = 0x1A // string
	ServerReference                 PropertyID = 0x1C // string
	ReasonString                    PropertyID = 0x1F // string
	ReceiveMaximum                  PropertyID = 0x21 // two-byte integer
	TopicAliasMaximum               PropertyID = 0x22 // two-byte integer
	TopicAlias                      PropertyID = 0x23 // two-byte integer
	MaximumQoS                      PropertyID = 0x24 // byte
	RetainAvailable                 PropertyID = 0x25 // byte
	UserProperty                    PropertyID = 0x26 // pair of strings
	MaximumPacketSize               PropertyID = 0x27 // four-byte integer, bytes
	WildcardSubscriptionAvailable   PropertyID = 0x28 // byte
	SubscriptionIdentifierAvailable PropertyID = 0x29 // byte
	SharedSubscriptionAvailable     PropertyID = 0x2A // byte
)

// overlong marks a property that does not fit its encoding. No property has this
// identifier, so nothing that contains it can be sent.
const overlong PropertyID = 0

// kind is the type of a property's value; the fixed-size ones are their own size.
type kind byte

const (
	kindByte   kind = 1
	kindTwo    kind = 2
	kindFour   kind = 4
	kindVarint kind = 5
	kindString kind = 6
	kindBinary kind = 7
	kindPair   kind = 8
)

// place is a set of the places in which properties stand: bit t for the packets of
// Type t, and willPlace for a Will's.
type place uint16

const (
	willPlace place = 1
	anyPlace  place = 0xFFFF

	connects place = 1 << Connect
	connacks place = 1 << Connack
	session        = connects | connacks
	auths    place = 1 << Auth
	leaves   place = 1 << Disconnect
	message  place = 1<<Publish | willPlace
	acks     place = 1<<Puback | 1<<Pubrec | 1<<Pubrel | 1<<Pubcomp | 1<<Suback | 1<<Unsuback
	answers        = acks | connacks | leaves | auths
	asks     place = 1<<Subscribe | 1<<Unsubscribe
)

// propertyRule is a row of MQTT5 table 2-4. The zero value is an unknown property.
type propertyRule struct {
	kind  kind
	where place
}

// propertyRules is MQTT5 table 2-4, indexed by PropertyID.
var propertyRules = [64]propertyRule{
	PayloadFormat:                   {kindByte, message},
	MessageExpiryInterval:           {kindFour, message},
	ContentType:                     {kindString, message},
	ResponseTopic:                   {kindString, message},
	CorrelationData:                 {kindBinary, message},
	SubscriptionIdentifier:          {kindVarint, 1<<Publish | 1<<Subscribe},
	SessionExpiryInterval:           {kindFour, session | leaves},
	AssignedClientIdentifier:        {kindString, connacks},
	ServerKeepAlive:                 {kindTwo, connacks},
	AuthenticationMethod:            {kindString, session | auths},
	AuthenticationData:              {kindBinary, session | auths},
	RequestProblemInformation:       {kindByte, connects},
	WillDelayInterval:               {kindFour, willPlace},
	RequestResponseInformation:      {kindByte, connects},
	ResponseInformation:             {kindString, connacks},
	ServerReference:                 {kindString, connacks | leaves},
	ReasonString:                    {kindString, answers},
	ReceiveMaximum:                  {kindTwo, session},
	TopicAliasMaximum:               {kindTwo, session},
	TopicAlias:                      {kindTwo, 1 << Publish},
	MaximumQoS:                      {kindByte, connacks},
	RetainAvailable:                 {kindByte, connacks},
	UserProperty:                    {kindPair, answers | message | asks | connects},
	MaximumPacketSize:               {kindFour, session},
	WildcardSubscriptionAvailable:   {kindByte, connacks},
	SubscriptionIdentifierAvailable: {kindByte, connacks},
	SharedSubscriptionAvailable:     {kindByte, connacks},
}

func (id PropertyID) rule() propertyRule {
	if int(id) < len(propertyRules) {
		return propertyRules[id]
	}
	return propertyRule{}
}

// repeats reports whether id may stand more than once among the properties of p:
// User Property anywhere, Subscription Identifier in a PUBLISH (MQTT5 3.3.2.3.8).
func (id PropertyID) repeats(p place) bool {
	return id == UserProperty || id == SubscriptionIdentifier && p&(1<<Publish) != 0
}

// propertySet remembers which properties were seen; identifiers are below 64.
type propertySet uint64

// add puts id in and reports whether it is new.
func (s *propertySet) add(id PropertyID) bool {
	bit := propertySet(1) << id
	fresh := *s&bit == 0
	*s |= bit
	return fresh
}
