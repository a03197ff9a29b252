package claims

// Media types of the bodies that clients, Authorization Servers and brokers exchange.
const (
	TypeACEJSON = "application/ace+json"              // RFC 9431, section 7.2
	TypeACECBOR = "application/ace+cbor"              // RFC 9200, section 8.15
	TypeJSON    = "application/json"                  // RFC 7662 and RFC 7591
	TypeForm    = "application/x-www-form-urlencoded" // RFC 6749, appendix B
)

// Labels of the CBOR maps of the token endpoint (RFC 9200, table 5; RFC 9201, table 1).
const (
	LabelAccessToken      = 1
	LabelTokenExpiresIn   = 2
	LabelReqCnf           = 4
	LabelAudience         = 5
	LabelTokenCnf         = 8
	LabelTokenScope       = 9
	LabelClientID         = 24
	LabelClientSecret     = 25
	LabelError            = 30
	LabelErrorDescription = 31
	LabelErrorURI         = 32
	LabelGrantType        = 33
	LabelTokenType        = 34
	LabelRefreshToken     = 37
	LabelProfile          = 38
	LabelCNonce           = 39
	LabelRSCnf            = 41
)

// Labels of the claims of a CBOR Web Token and of the introspection response (RFC 8392; RFC 9200, table 6; RFC 9201).
const (
	LabelIssuer    = 1
	LabelSubject   = 2
	LabelAud       = 3
	LabelExpires   = 4
	LabelNotBefore = 5
	LabelIssuedAt  = 6
	LabelID        = 7
	LabelCnf       = 8
	LabelScope     = 9
	LabelActive    = 10
	LabelToken     = 11
	LabelTokenHint = 33
	LabelExi       = 40
)

// Members of "cnf" in CBOR (RFC 8747, section 3.1).
const (
	CnfKey       = 1
	CnfEncrypted = 2
	CnfKeyID     = 3
)

// GrantTypes are the grant types by their numbers in CBOR (RFC 9200, table 4).
var GrantTypes = map[int64]string{
	0: "password",
	1: "authorization_code",
	2: "client_credentials",
	3: "refresh_token",
}

// Token types and their numbers in CBOR (RFC 9200, section 8.7). Names are compared without regard to case.
const (
	Bearer       = "Bearer"
	PoP          = "PoP"
	BearerNumber = 1
	PoPNumber    = 2
)

// Errors are what an Authorization Server says no with, by the number in CBOR (RFC 9200, table 3).
var Errors = map[int64]string{
	1: "invalid_request",
	2: "invalid_client",
	3: "invalid_grant",
	4: "unauthorized_client",
	5: "unsupported_grant_type",
	6: "invalid_scope",
	7: "unsupported_pop_key",
	8: "incompatible_ace_profiles",
}

// ErrorNumber is the number in CBOR of an error, 0 for one that has none.
func ErrorNumber(name string) int64 {
	for number, n := range Errors {
		if n == name {
			return number
		}
	}
	return 0
}
