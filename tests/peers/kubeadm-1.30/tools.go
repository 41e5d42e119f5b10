// Package kubeadm names the program that build.txt builds, so that go.mod keeps what it needs.
package kubeadm

import (
	_ "k8s.io/kubernetes/cmd/kubeadm/app"
)
