package config

import (
	"strings"
	"testing"
)

func TestKMSKeys(t *testing.T) {
	const id, region = "1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab"
	for key, good := range map[string]bool{
		id: true, region: true, "alias/kube-store": true, "alias/kube/store_2": true, "alias/aws/s3": true,
		"arn:aws-cn:kms:cn-north-1:123456789012:key/" + id:         true,
		"arn:aws:kms:eu-west-1:123456789012:key/" + region:         true,
		"arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/kube": true,
		"arn:aws-iso-b:kms:us-isob-east-1:123456789012:alias/kube": true,

		"kube-store": false, "alias/": false, "alias/a b": false, strings.ToUpper(id): false, id + "0": false, "mrk-12": false,
		"arn:aws-cn:kms:cn-north-1:123456789012:" + id:              false,
		"arn:aws-cn:kms:cn-north-1:12345:key/" + id:                 false,
		"arn:aws-cn:s3:cn-north-1:123456789012:key/" + id:           false,
		"arn:aws-cn:kms:cn-north-1:123456789012:key/" + id + "\n":   false,
		"arn:aws-cn:kms::123456789012:key/" + id:                    false,
		"arn:aws-cn:kms:cn-north-1:123456789012:alias/kube?x=alias": false,
	} {
		_, problems := Load(layer("x", "pki: {kmsKey: "+quoted(key)+"}"))
		if accepted := problems.Err() == nil; accepted != good {
			t.Errorf("%s is accepted: %t", key, accepted)
		}
	}
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"` }

// The settings of an authority that two layers share are merged, as in every mapping.
func TestAuthoritiesOfTwoLayers(t *testing.T) {
	c := mustLoad(t,
		layer("low", "pki: {authorities: {etcd: {certificate: 's3:a', key: 's3:b'}, kubernetes: {certificate: 's3:c', key: 's3:d'}}}"),
		layer("high", "pki: {authorities: {etcd: {key: 'ssm:/e'}, kubernetes: ~}}"))
	if got := c.PKI.Authorities; len(got) != 1 || got["etcd"] != (AuthorityRefs{"s3:a", "ssm:/e"}) {
		t.Errorf("authorities are %v", got)
	}
}
