module prebake.invalid/peers/cluster-api-aws

go 1.24.0

require sigs.k8s.io/cluster-api-provider-aws/v2 v2.13.0
