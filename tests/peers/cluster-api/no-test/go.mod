module sigs.k8s.io/cluster-api/test

go 1.24.0
