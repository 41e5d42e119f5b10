// The judge of signed provenance: DSSE's, in-toto's and SLSA's own libraries.
//
//	judge ENVELOPE KEYID HEX-OF-ED25519-KEY
//
// prints what it found in the statement, or says why it does not hold.
package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	statement "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"google.golang.org/protobuf/encoding/protojson"
)

type key struct {
	id     string
	public ed25519.PublicKey
}

func (k key) KeyID() (string, error)   { return k.id, nil }
func (k key) Public() crypto.PublicKey { return k.public }
func (k key) Verify(_ context.Context, data, signature []byte) error {
	if !ed25519.Verify(k.public, data, signature) {
		return errors.New("the signature does not match")
	}
	return nil
}

func judge(path, id, public string) error {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	point, err := hex.DecodeString(public)
	if err != nil {
		return err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(bytes, &envelope); err != nil {
		return err
	}
	verifier, err := dsse.NewEnvelopeVerifier(key{id, point})
	if err != nil {
		return err
	}
	accepted, err := verifier.Verify(context.Background(), &envelope)
	if err != nil {
		return err
	}
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return err
	}
	var said statement.Statement
	if err := protojson.Unmarshal(payload, &said); err != nil {
		return err
	}
	if err := said.Validate(); err != nil {
		return err
	}
	predicate, err := protojson.Marshal(said.Predicate)
	if err != nil {
		return err
	}
	var how provenance.Provenance
	if err := protojson.Unmarshal(predicate, &how); err != nil {
		return err
	}
	if err := how.Validate(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"signer":       accepted[0].KeyID,
		"payload_type": envelope.PayloadType,
		"predicate":    said.PredicateType,
		"subjects":     len(said.Subject),
		"build_type":   how.BuildDefinition.BuildType,
		"builder":      how.RunDetails.Builder.Id,
		"dependencies": len(how.BuildDefinition.ResolvedDependencies),
	})
}

func main() {
	if err := judge(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
