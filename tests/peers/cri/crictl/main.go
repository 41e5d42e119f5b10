// crictl ps | images | version: the questions of cri-tools' crictl that a node image is judged by, asked by the same protocol of
// the runtime that /etc/crictl.yaml names.
//
// cri-tools cannot be had where the tests run; the real one has these commands, this file and these columns.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const config = "/etc/crictl.yaml"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

// endpoint reads a key of crictl's config, whose lines are `KEY: unix://PATH`.
func endpoint(key string) (string, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", config, key)
}

func connect(key string) (*grpc.ClientConn, error) {
	address, err := endpoint(key)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func run(ctx context.Context, args []string) error {
	command := strings.Join(args, " ")
	key := "runtime-endpoint"
	if command == "images" {
		key = "image-endpoint"
	}
	connection, err := connect(key)
	if err != nil {
		return err
	}
	defer connection.Close()
	switch command {
	case "ps":
		running := &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
		filter := &cri.ContainerFilter{State: running}
		answer, err := cri.NewRuntimeServiceClient(connection).ListContainers(ctx, &cri.ListContainersRequest{Filter: filter})
		if err != nil {
			return err
		}
		fmt.Println("CONTAINER           IMAGE               STATE               NAME")
		for _, row := range answer.Containers {
			fmt.Println(row.Id, row.Image.GetImage(), row.State, row.Metadata.GetName())
		}
	case "images":
		answer, err := cri.NewImageServiceClient(connection).ListImages(ctx, &cri.ListImagesRequest{})
		if err != nil {
			return err
		}
		fmt.Println("IMAGE               TAG                 IMAGE ID            SIZE")
		for _, row := range answer.Images {
			for _, tag := range row.RepoTags {
				at := strings.LastIndex(tag, ":")
				fmt.Println(tag[:at], tag[at+1:], row.Id, row.Size_)
			}
		}
	case "version":
		answer, err := cri.NewRuntimeServiceClient(connection).Version(ctx, &cri.VersionRequest{})
		if err != nil {
			return err
		}
		fmt.Println("RuntimeName: ", answer.RuntimeName)
		fmt.Println("RuntimeVersion: ", answer.RuntimeVersion)
	default:
		return fmt.Errorf("%q is none of ps, images and version", command)
	}
	return nil
}
