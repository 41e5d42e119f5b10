// rpc ENDPOINT CA CERT KEY: asks a server by Matchbox's own client library, a line of JSON for each call.
//
//	{"call": "GroupPut", "request": {…}}            the request as protobuf's JSON
//	{"method": "/rpcpb.Groups/GroupPut", "frame": "BASE64"}  a message as it goes over the wire, which need not be one
//
// Each is answered by a line {"code": "OK", "message": "", "answer": …}: gRPC's name of the status, its text, and the response as
// protobuf's JSON, or its bytes in base64 where a frame was sent. `gzip` compresses the message, `milliseconds` is a deadline.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/poseidon/matchbox/matchbox/client"
	"github.com/poseidon/matchbox/matchbox/server/serverpb"
	"github.com/poseidon/matchbox/matchbox/tlsutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// A line of input.
type question struct {
	Call         string          `json:"call"`
	Request      json.RawMessage `json:"request"`
	Method       string          `json:"method"`
	Frame        []byte          `json:"frame"`
	Gzip         bool            `json:"gzip"`
	Milliseconds int             `json:"milliseconds"`
}

// A line of output.
type reply struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Answer  any    `json:"answer"`
}

// One of the library's fourteen methods and two of Select, with its types erased.
type method func(*client.Client, context.Context, []byte, ...grpc.CallOption) (proto.Message, error)

// typed erases the types of a method.
func typed[Q, A any, Request interface {
	*Q
	protoadapt.MessageV1
}, Answer interface {
	*A
	protoadapt.MessageV1
}](of func(*client.Client) func(context.Context, Request, ...grpc.CallOption) (Answer, error)) method {
	return func(to *client.Client, ctx context.Context, text []byte, options ...grpc.CallOption) (proto.Message, error) {
		request := Request(new(Q))
		if err := protojson.Unmarshal(text, protoadapt.MessageV2Of(request)); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", text, err)
			os.Exit(2)
		}
		answer, err := of(to)(ctx, request, options...)
		if err != nil {
			return nil, err
		}
		return protoadapt.MessageV2Of(answer), nil
	}
}

type (
	ctx     = context.Context
	options = grpc.CallOption
)

var methods = map[string]method{
	"GroupPut": typed(func(c *client.Client) func(ctx, *serverpb.GroupPutRequest, ...options) (*serverpb.GroupPutResponse, error) {
		return c.Groups.GroupPut
	}),
	"GroupGet": typed(func(c *client.Client) func(ctx, *serverpb.GroupGetRequest, ...options) (*serverpb.GroupGetResponse, error) {
		return c.Groups.GroupGet
	}),
	"GroupDelete": typed(func(c *client.Client) func(ctx, *serverpb.GroupDeleteRequest, ...options) (*serverpb.GroupDeleteResponse, error) {
		return c.Groups.GroupDelete
	}),
	"GroupList": typed(func(c *client.Client) func(ctx, *serverpb.GroupListRequest, ...options) (*serverpb.GroupListResponse, error) {
		return c.Groups.GroupList
	}),
	"ProfilePut": typed(func(c *client.Client) func(ctx, *serverpb.ProfilePutRequest, ...options) (*serverpb.ProfilePutResponse, error) {
		return c.Profiles.ProfilePut
	}),
	"ProfileGet": typed(func(c *client.Client) func(ctx, *serverpb.ProfileGetRequest, ...options) (*serverpb.ProfileGetResponse, error) {
		return c.Profiles.ProfileGet
	}),
	"ProfileDelete": typed(func(c *client.Client) func(ctx, *serverpb.ProfileDeleteRequest, ...options) (*serverpb.ProfileDeleteResponse, error) {
		return c.Profiles.ProfileDelete
	}),
	"ProfileList": typed(func(c *client.Client) func(ctx, *serverpb.ProfileListRequest, ...options) (*serverpb.ProfileListResponse, error) {
		return c.Profiles.ProfileList
	}),
	"IgnitionPut": typed(func(c *client.Client) func(ctx, *serverpb.IgnitionPutRequest, ...options) (*serverpb.IgnitionPutResponse, error) {
		return c.Ignition.IgnitionPut
	}),
	"IgnitionGet": typed(func(c *client.Client) func(ctx, *serverpb.IgnitionGetRequest, ...options) (*serverpb.IgnitionGetResponse, error) {
		return c.Ignition.IgnitionGet
	}),
	"IgnitionDelete": typed(func(c *client.Client) func(ctx, *serverpb.IgnitionDeleteRequest, ...options) (*serverpb.IgnitionDeleteResponse, error) {
		return c.Ignition.IgnitionDelete
	}),
	"GenericPut": typed(func(c *client.Client) func(ctx, *serverpb.GenericPutRequest, ...options) (*serverpb.GenericPutResponse, error) {
		return c.Generic.GenericPut
	}),
	"GenericGet": typed(func(c *client.Client) func(ctx, *serverpb.GenericGetRequest, ...options) (*serverpb.GenericGetResponse, error) {
		return c.Generic.GenericGet
	}),
	"GenericDelete": typed(func(c *client.Client) func(ctx, *serverpb.GenericDeleteRequest, ...options) (*serverpb.GenericDeleteResponse, error) {
		return c.Generic.GenericDelete
	}),
	"SelectGroup": typed(func(c *client.Client) func(ctx, *serverpb.SelectGroupRequest, ...options) (*serverpb.SelectGroupResponse, error) {
		return c.Select.SelectGroup
	}),
	"SelectProfile": typed(func(c *client.Client) func(ctx, *serverpb.SelectProfileRequest, ...options) (*serverpb.SelectProfileResponse, error) {
		return c.Select.SelectProfile
	}),
}

// bytes is a codec that leaves messages as they are.
type bytes struct{}

func (bytes) Marshal(message any) ([]byte, error) { return message.([]byte), nil }

func (bytes) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = data
	return nil
}

// Name is protobuf's, which is then what the request says that it holds.
func (bytes) Name() string { return "proto" }

func main() {
	if err := play(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// play answers each line of stdin.
func play(endpoint, ca, cert, key string) error {
	info := tlsutil.TLSInfo{CAFile: ca, CertFile: cert, KeyFile: key}
	config, err := info.ClientConfig()
	if err != nil {
		return err
	}
	library, err := client.New(&client.Config{Endpoints: []string{endpoint}, DialTimeout: 30 * time.Second, TLS: config})
	if err != nil {
		return err
	}
	defer library.Close()
	bare, err := grpc.Dial(endpoint, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return err
	}
	defer bare.Close()
	lines, output := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var asked question
		if err := json.Unmarshal(line, &asked); err != nil {
			return err
		}
		if err := output.Encode(ask(library, bare, &asked)); err != nil {
			return err
		}
	}
}

// ask makes one call.
func ask(library *client.Client, bare *grpc.ClientConn, asked *question) reply {
	patience := 60 * time.Second
	if asked.Milliseconds > 0 {
		patience = time.Duration(asked.Milliseconds) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var with []grpc.CallOption
	if asked.Gzip {
		with = append(with, grpc.UseCompressor(gzip.Name))
	}
	var answer any
	var failed error
	if asked.Method != "" {
		var frame []byte
		failed = bare.Invoke(ctx, asked.Method, asked.Frame, &frame, append(with, grpc.ForceCodec(bytes{}))...)
		answer = frame
	} else {
		call, known := methods[asked.Call]
		if !known {
			fmt.Fprintf(os.Stderr, "no such call: %s\n", asked.Call)
			os.Exit(2)
		}
		message, err := call(library, ctx, asked.Request, with...)
		failed = err
		if err == nil {
			text, err := protojson.Marshal(message)
			if err != nil {
				// A server sent a text that is no UTF-8.
				return reply{Code: "Unreadable", Message: err.Error()}
			}
			answer = json.RawMessage(text)
		}
	}
	said := status.Convert(failed)
	if failed != nil {
		answer = nil
	}
	return reply{Code: said.Code().String(), Message: said.Message(), Answer: answer}
}
