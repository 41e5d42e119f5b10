// cri-images SOCKET REFERENCE...: asks a container runtime by CRI, as the kubelet does before it pulls, which images it has.
//
// Prints a line for each reference: the reference, `present` or `missing`, and whether the runtime holds it as pinned.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := ask(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask(ctx context.Context, socket string, references []string) error {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := cri.NewImageServiceClient(connection)
	for _, reference := range references {
		// The kubelet's own question (pkg/kubelet/images, imagePullPrecheck → GetImageRef).
		answer, err := client.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: reference}}, grpc.WaitForReady(true))
		if err != nil {
			return fmt.Errorf("%s: %w", reference, err)
		}
		word := "missing"
		if answer.Image != nil {
			word = "present"
		}
		fmt.Println(reference, word, answer.Image.GetPinned())
	}
	return nil
}
