package token

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

var (
	now     = time.Unix(1_800_000_000, 0)
	later   = now.Add(time.Hour)
	binding = [32]byte{1, 2, 3}
)

// testOwner is an owner whose T counts up from first.
func testOwner(t testing.TB, filter string, first byte) Owner {
	t.Helper()
	secret := make([]byte, key.SecretSize)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	k, err := key.New(filter, secret)
	require.NoError(t, err)
	o, err := newOwner(k, 1)
	require.NoError(t, err)
	return o
}

func issue(t testing.TB, o Owner, kind Kind, filter string) Token {
	t.Helper()
	tok, err := o.Issue(Terms{Kind: kind, Filter: filter, Expires: later})
	require.NoError(t, err)
	return tok
}

func roots(t testing.TB, o Owner) Roots {
	t.Helper()
	r, err := o.Roots()
	require.NoError(t, err)
	return r
}

func TestTokenProvesItself(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	for _, kind := range []Kind{Auth1, Auth2} {
		for _, filter := range []string{"site/#", "site/7", "site/7/#", "site/7/+", "site/7/+/temp", "site//x"} {
			tok := issue(t, o, kind, filter)
			p := tok.Present(binding)
			id, err := roots(t, o).Verify(1, &p, binding, now)
			require.NoError(t, err, "%v %s", kind, filter)
			require.Equal(t, tok.ID(), id)
			require.Equal(t, filter, tok.Key().Filter())
		}
	}
}

// TestKeyOfATokenIsThePayloadTree: the owner's key opens what is sealed under a token's, offline.
func TestKeyOfATokenIsThePayloadTree(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	want, err := o.Key().Sub("site/7/#")
	require.NoError(t, err)
	require.True(t, want.Equal(issue(t, o, Auth1, "site/7/#").Key()))
	require.True(t, want.Equal(issue(t, o, Auth2, "site/7/#").Key()))
	branch, err := o.Delegate("site/7/#")
	require.NoError(t, err)
	require.True(t, want.Equal(branch.Key()))
	require.True(t, o.Key().Equal(issue(t, o, Auth2, "site/#").Key()))
}

// TestRootsTellNothingOfThePayloadTree: what the authority gets is neither T, nor K, nor leads to them.
func TestRootsTellNothingOfThePayloadTree(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	r := roots(t, o)
	payloads, err := node(o.Key(), "site/#")
	require.NoError(t, err)
	for _, root := range []key.Node{r.Publish, r.Subscribe} {
		require.NotEqual(t, root, payloads)
		for _, label := range treeNames {
			require.NotEqual(t, key.Node(root.Leaf(label)), payloads)
			require.NotEqual(t, root.Child(label), payloads)
		}
	}
	require.NotEqual(t, r.Publish, r.Subscribe)
}

// TestOwnerForgesBeyondTheClaim: an owner has the secrets that the authority computes with, so only the filters say
// no: to a filter beside the claim, to a wider one, and to one that narrows it by a wildcard alone.
func TestOwnerForgesBeyondTheClaim(t *testing.T) {
	for claim, filters := range map[string][]string{
		"site/#":     {"plant/7", "plant/#", "#", "+/7", "site/+", "$SYS/x", "site2/7"},
		"site/7":     {"site/8", "site/#", "site/+", "site/7/x"},
		"site/+/set": {"site/7/get", "site/#", "site/+/+", "site/+/get", "plant/7/set"},
	} {
		r := roots(t, testOwner(t, claim, 1))
		for _, filter := range filters {
			tree, err := key.New(claim, r.Publish[:])
			require.NoError(t, err)
			n, err := node(tree, filter)
			require.NoError(t, err)
			p := Presentation{Kind: Auth1, Claim: claim, Epoch: 1, terms: terms{until: now.Unix() + 60, filter: filter}}
			p.Proof = prove(n.Leaf(p.terms.label()), binding)
			_, err = r.Verify(1, &p, binding, now)
			require.ErrorIs(t, err, ErrInvalid, "%q under %q", filter, claim)
		}
	}
}

// TestNothingAboutATokenCanBeChanged plays the holder, who wants more than the owner gave.
func TestNothingAboutATokenCanBeChanged(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	r := roots(t, o)
	tok := issue(t, o, Auth2, "site/7/+")
	for name, c := range map[string]struct {
		change func(*Presentation)
		want   error
	}{
		"subscriber's token used to publish": {func(p *Presentation) { p.Kind = Auth1 }, ErrInvalid},
		"wider":                              {func(p *Presentation) { p.terms.filter = "site/7/#" }, ErrInvalid},
		"all":                                {func(p *Presentation) { p.terms.filter = "site/#" }, ErrInvalid},
		"beside":                             {func(p *Presentation) { p.terms.filter = "site/8/+" }, ErrInvalid},
		"narrower":                           {func(p *Presentation) { p.terms.filter = "site/7/x" }, ErrInvalid},
		"beyond the claim":                   {func(p *Presentation) { p.terms.filter = "#" }, ErrInvalid},
		"another claim":                      {func(p *Presentation) { p.Claim = "#" }, ErrInvalid},
		"longer":                             {func(p *Presentation) { p.terms.until++ }, ErrInvalid},
		"for everybody":                      {func(p *Presentation) { p.terms.once = !p.terms.once }, ErrInvalid},
		"another serial":                     {func(p *Presentation) { p.terms.serial[0]++ }, ErrInvalid},
		"another epoch":                      {func(p *Presentation) { p.Epoch = 2 }, ErrSuperseded},
		"another proof":                      {func(p *Presentation) { p.Proof[31] ^= 1 }, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			p := tok.Present(binding)
			c.change(&p)
			_, err := r.Verify(1, &p, binding, now)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestPresentationIsOfOneSession(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	p := issue(t, o, Auth1, "site/7").Present(binding)
	_, err := roots(t, o).Verify(1, &p, [32]byte{9}, now)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestTokenExpires(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	tok := issue(t, o, Auth1, "site/7")
	p := tok.Present(binding)
	_, err := roots(t, o).Verify(1, &p, binding, later.Add(-time.Second))
	require.NoError(t, err)
	_, err = roots(t, o).Verify(1, &p, binding, later)
	require.ErrorIs(t, err, ErrExpired)
	p.Proof[0] ^= 1
	_, err = roots(t, o).Verify(1, &p, binding, later)
	require.ErrorIs(t, err, ErrInvalid, "a forged token is not told that it expired")
}

func TestNextEpochEndsTokens(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	next, err := o.Next()
	require.NoError(t, err)
	require.EqualValues(t, 2, next.Epoch())
	require.Equal(t, o.Claim(), next.Claim())
	p := issue(t, o, Auth1, "site/7").Present(binding)
	_, err = roots(t, next).Verify(2, &p, binding, now)
	require.ErrorIs(t, err, ErrSuperseded)
	p.Epoch = 2
	_, err = roots(t, next).Verify(2, &p, binding, now)
	require.ErrorIs(t, err, ErrInvalid)
	p = issue(t, next, Auth1, "site/7").Present(binding)
	_, err = roots(t, next).Verify(2, &p, binding, now)
	require.NoError(t, err)
	next.epoch = math.MaxUint32
	_, err = next.Next()
	require.ErrorIs(t, err, ErrInvalid, "there is none after the last")
}

func TestTwoTokensForTheSameAreTwo(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	require.NotEqual(t, issue(t, o, Auth1, "site/7").ID(), issue(t, o, Auth1, "site/7").ID())
	require.NotEqual(t, issue(t, o, Auth1, "site/7").ID(), issue(t, o, Auth2, "site/7").ID())
}

// TestDelegate: a branch makes tokens that the claim's roots know, and none beside the branch.
func TestDelegate(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	branch, err := o.Delegate("site/7/#")
	require.NoError(t, err)
	require.Equal(t, "site/#", branch.Claim())
	tok, err := branch.Issue(Terms{Kind: Auth1, Filter: "site/7/temp", Expires: later, Once: true})
	require.NoError(t, err)
	p := tok.Present(binding)
	_, err = roots(t, o).Verify(1, &p, binding, now)
	require.NoError(t, err)
	require.True(t, p.Once())

	_, err = branch.Issue(Terms{Kind: Auth1, Filter: "site/8", Expires: later})
	require.ErrorIs(t, err, ErrFilter)
	_, err = branch.Roots()
	require.ErrorIs(t, err, ErrFilter, "it cannot claim")
	_, err = branch.Next()
	require.ErrorIs(t, err, ErrFilter)
	for _, filter := range []string{"site/#", "site/+", "site/+/x", "other/#", "#", "", "a#", "$share/g/site/7", strings.Repeat("x", MaxFilter+1)} {
		_, err := o.Delegate(filter)
		require.ErrorIs(t, err, ErrFilter, filter)
	}
}

func TestIssueRefuses(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	for name, terms := range map[string]Terms{
		"no expiry":    {Kind: Auth1, Filter: "site/7"},
		"before 1970":  {Kind: Auth1, Filter: "site/7", Expires: time.Unix(-1, 0)},
		"no kind":      {Filter: "site/7", Expires: later},
		"another kind": {Kind: 3, Filter: "site/7", Expires: later},
		"no filter":    {Kind: Auth1, Expires: later},
		"beyond":       {Kind: Auth1, Filter: "#", Expires: later},
		"wildcard":     {Kind: Auth1, Filter: "site/+", Expires: later},
		"shared":       {Kind: Auth2, Filter: "$share/g/site/7", Expires: later},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := o.Issue(terms)
			require.Error(t, err)
		})
	}
	_, err := Owner{}.Issue(Terms{Kind: Auth1, Filter: "site/7", Expires: later})
	require.ErrorIs(t, err, ErrFilter)
	_, err = GenerateOwner("$share/g/x")
	require.ErrorIs(t, err, ErrFilter)
}

func TestTextSurvives(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	branch, err := o.Delegate("site/7/#")
	require.NoError(t, err)
	for _, owner := range []Owner{o, branch} {
		text, err := owner.MarshalText()
		require.NoError(t, err)
		var read Owner
		require.NoError(t, read.UnmarshalText(text))
		require.True(t, owner.Equal(read))
		require.ErrorIs(t, new(Token).UnmarshalText(text), ErrText)
	}
	tok := issue(t, branch, Auth2, "site/7/a/+")
	text, err := tok.MarshalText()
	require.NoError(t, err)
	require.Regexp(t, `^[0-9A-Z:]+$`, string(text), "the alphanumeric mode of QR codes")
	var read Token
	require.NoError(t, read.UnmarshalText([]byte("\n "+strings.ToLower(string(text))+" \r\n")))
	require.True(t, tok.Equal(read))
	require.Equal(t, tok.Present(binding), read.Present(binding))

	asJSON, err := json.Marshal(map[string]Token{"token": tok})
	require.NoError(t, err)
	var back map[string]Token
	require.NoError(t, json.Unmarshal(asJSON, &back))
	require.True(t, tok.Equal(back["token"]))
}

func TestTextRefuses(t *testing.T) {
	tok := issue(t, testOwner(t, "site/#", 1), Auth1, "site/7")
	text, err := tok.MarshalText()
	require.NoError(t, err)
	for i := range text {
		for _, c := range []byte("A7!\n ") {
			if text[i] == c {
				continue
			}
			bad := append([]byte(nil), text...)
			bad[i] = c
			if strings.TrimSpace(string(bad)) == string(text) {
				continue
			}
			require.ErrorIs(t, new(Token).UnmarshalText(bad), ErrText, "%d", i)
		}
	}
	for n := range text {
		require.ErrorIs(t, new(Token).UnmarshalText(text[:n]), ErrText)
	}
	require.ErrorIs(t, new(Token).UnmarshalText([]byte(textPrefix+strings.Repeat("A", 1<<16))), ErrText)
	require.ErrorIs(t, new(Token).UnmarshalText(text[len(textPrefix):]), ErrText, "without what says what it is")
	wide := strings.Replace(string(text), "S", "\u017f", 1) // whose upper case is S
	require.NotEqual(t, wide, string(text))
	require.ErrorIs(t, new(Token).UnmarshalText([]byte(wide)), ErrText)
	owner, err := testOwner(t, "site/#", 1).MarshalText()
	require.NoError(t, err)
	require.ErrorIs(t, new(Token).UnmarshalText(owner), ErrText, "an owner's secret is no token")
	require.ErrorIs(t, new(Owner).UnmarshalText(text), ErrText, "nor is a token the other")
	_, err = Token{}.MarshalText()
	require.ErrorIs(t, err, ErrInvalid)
	_, err = Owner{}.MarshalText()
	require.ErrorIs(t, err, ErrInvalid)
}

// TestBinaryOfAnImpossibleTokenIsRefused: filters that do not belong together, for one.
func TestBinaryOfAnImpossibleTokenIsRefused(t *testing.T) {
	tok := issue(t, testOwner(t, "site/#", 1), Auth1, "site/7")
	b, err := tok.MarshalBinary()
	require.NoError(t, err)
	beside := strings.Replace(string(b), "site/7", "side/7", 1)
	require.ErrorIs(t, new(Token).UnmarshalBinary([]byte(beside)), ErrFilter)
	require.ErrorIs(t, new(Token).UnmarshalBinary(append(b, 0)), codec.ErrMalformed)
	for i, wrong := range []byte{binaryVersion + 1, binaryOwner, 3} {
		bad := slices.Clone(b)
		bad[i] = wrong
		require.ErrorIs(t, new(Token).UnmarshalBinary(bad), codec.ErrMalformed, "octet %d", i)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	o := testOwner(t, "site/#", 1)
	tok := issue(t, o, Auth1, "site/7")
	text, err := tok.MarshalText()
	require.NoError(t, err)
	secret := tok.secret()
	type holder struct {
		t Token
		o Owner
	}
	for _, v := range []any{tok, &tok, o, &o, holder{tok, o}, &holder{tok, o}, roots(t, o), tok.Present(binding), []Token{tok}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			require.NotContains(t, out, string(text))
			require.NotContains(t, out, fmt.Sprintf("%x", secret[:8]))
			require.NotContains(t, out, fmt.Sprint(secret[:4]))
		}
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", tok, "owner", o)
	require.NotContains(t, log.String(), string(text))
	require.Contains(t, log.String(), "secret hidden")
}

// TestDelegateHasTheWholeBranch: a delegate who takes the secret apart makes tokens for all that is at or below the
// levels before the first wildcard of what was delegated, which Delegate says, and for nothing above or beside it.
func TestDelegateHasTheWholeBranch(t *testing.T) {
	owner, err := GenerateOwner("a/#")
	require.NoError(t, err)
	roots, err := owner.Roots()
	require.NoError(t, err)
	for _, delegated := range []string{"a/b", "a/b/+/c", "a/b/#"} {
		rogue, err := owner.Delegate(delegated)
		require.NoError(t, err)
		secret, err := node(rogue.trees[publish], rogue.filter)
		require.NoError(t, err)
		for filter, made := range map[string]bool{"a/b": true, "a/b/#": true, "a/b/+": true, "a/#": false, "a/+": false, "a/c": false, "a/+/c": false} {
			forged := terms{until: time.Now().Add(time.Hour).Unix(), filter: filter}
			p := newToken(Auth1, forged, 1, "a/#", secret.Leaf(forged.label()), rogue.trees[payload]).Present([32]byte{})
			_, err := roots.Verify(1, &p, [32]byte{}, time.Now())
			require.Equal(t, made, err == nil, "%q with the secret of %q", filter, delegated)
		}
	}
}
