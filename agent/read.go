package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/aws"
	"rekindle/agent/config"
	"rekindle/agent/etcd"
	"rekindle/agent/facts"
	"rekindle/agent/secrets"
	"rekindle/agent/status"
	"rekindle/agent/store"
	"rekindle/roles"
)

// inputs are what a plan is made from, and the means to apply it. All but the facts are read once per boot.
type inputs struct {
	config  config.Config
	facts   facts.Facts
	role    roles.Role
	clients *aws.Clients
	objects *assets.Store
	records store.Store
	engine  *apply.Engine
	keeper  *etcd.Keeper
	*observer
}

// read finds everything out that a boot depends on, in the order in which one thing leads to the next: the image's
// configuration says where IMDS is, IMDS says where the node is and what its user-data is, that names the store, and
// the store has the rest.
func (a *Agent) read(ctx context.Context) (*inputs, error) {
	in := new(inputs)
	o, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if in.clients, err = a.locate(ctx, o); err != nil {
		return nil, err
	}
	if in.objects, err = a.openStore(ctx, in.clients, o.asked); err != nil {
		return nil, err
	}
	shared, err := a.storeLayer(ctx, in.objects)
	if err != nil {
		return nil, err
	}
	asked, err := a.resolve(slices.Concat(o.image, shared, o.own)...)
	if err != nil {
		return nil, err
	}
	if in.records, err = openRecords(asked.Store, in.clients.S3(asked.AWS.Region), asked.PKI.KMSKey); err != nil {
		return nil, err
	}
	in.observer = a.observer(o.meta, in.clients, asked)
	if in.facts, err = in.first(ctx, o.metadata); err != nil {
		return nil, err
	}
	if in.config, err = settled(*asked, in.facts); err != nil {
		return nil, err
	}
	if err := a.judge(overlaps(&in.config, in.facts)); err != nil {
		return nil, err
	}
	a.identify(in)
	if in.role, err = a.role(ctx, in.objects, in.config.Role); err != nil {
		return nil, err
	}
	return in, a.equip(in)
}

// opening is what can be known before the store is.
type opening struct {
	asked      *config.Config
	image, own []config.Layer // the two ends of the configuration: the store's cluster.yaml goes between them
	meta       *aws.IMDS
	metadata   *facts.Metadata
}

func (a *Agent) open(ctx context.Context) (o opening, err error) {
	if o.image, err = a.imageLayers(); err != nil {
		return o, err
	}
	if o.asked, err = a.resolve(o.image...); err != nil {
		return o, err
	}
	o.meta = aws.NewIMDS(aws.IMDSOptions{Endpoint: o.asked.AWS.Endpoints["imds"], Timeout: o.asked.Timeouts.Metadata, Logger: a.Logger})
	o.metadata = facts.NewMetadata(o.meta)
	if o.own, err = a.userData(ctx, o.metadata, o.asked.Timeouts.Role); err != nil {
		return o, err
	}
	o.asked, err = a.resolve(slices.Concat(o.image, o.own)...)
	return o, err
}

// locate finds out where the node is, and makes the clients for there.
func (a *Agent) locate(ctx context.Context, o opening) (_ *aws.Clients, err error) {
	ctx, span := status.Step(ctx, "imds: identity")
	defer func() { span.Done(err) }()
	self, err := o.metadata.Instance(ctx)
	if err != nil {
		return nil, err
	}
	asked := o.asked
	return aws.New(ctx, aws.Options{Region: self.Region, Partition: self.Partition, DNSSuffix: self.DNSSuffix,
		Endpoints: asked.AWS.Endpoints, PathStyle: asked.AWS.PathStyle, IMDS: o.meta, Logger: a.Logger,
		UserAgent: "rekindle/" + a.Version})
}

// openStore opens the store and its mirrors.
func (a *Agent) openStore(ctx context.Context, clients *aws.Clients, asked *config.Config) (_ *assets.Store, err error) {
	ctx, span := status.Step(ctx, "store")
	defer func() { span.Done(err) }()
	if asked.Store == "" {
		return nil, status.Fail(status.ReasonConfigInvalid, "set `store: s3://BUCKET/PREFIX` in user-data or "+ConfigDir,
			errors.New("no layer of the configuration names the store"))
	}
	var sources []assets.Source // mirrors first, the store last: it alone says what is published
	newS3 := func(string) *s3.Client { return clients.S3(asked.AWS.Region) }
	for _, place := range append(slices.Clone(asked.Mirrors), asked.Store) {
		source, err := assets.ParseSource(place, newS3, &http.Client{})
		if err != nil {
			return nil, status.Fail(status.ReasonConfigInvalid, "correct `store` or `mirrors`", err)
		}
		sources = append(sources, source)
	}
	cache, err := a.host.Path(CacheDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, asked.Timeouts.Assets)
	defer cancel()
	objects, err := assets.Open(ctx, assets.Options{Sources: sources, Authority: sources[len(sources)-1], SyncLater: true, CacheDir: cache, PublicKey: asked.Assets.PublicKey,
		Unverified: asked.Assets.Unverified, Parallel: asked.Assets.Parallel, ReadTimeout: asked.Assets.ReadTimeout,
		Logger: a.Logger})
	if err != nil {
		return nil, err
	}
	a.tellAssets(objects)
	return objects, nil
}

// openRecords makes the records of a store: only S3 and directories can keep any. Private keys go under the KMS key, if one
// is configured; else the bucket's own default holds, and stores without KMS work.
func openRecords(place string, client *s3.Client, kmsKey string) (store.Store, error) {
	if dir, ok := strings.CutPrefix(place, "dir://"); ok {
		return store.NewDir(dir), nil
	}
	rest, ok := strings.CutPrefix(place, "s3://")
	if !ok {
		return nil, status.Fail(status.ReasonConfigInvalid, "use s3:// or dir:// for `store`; https:// can be a mirror",
			fmt.Errorf("store %s cannot keep the cluster's records", place))
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	var options []store.S3Option
	if kmsKey != "" {
		options = append(options, store.EncryptUnder("pki/private/", kmsKey))
	}
	return store.NewS3(client, bucket, prefix, options...), nil
}

// clusterFile is the cluster-wide configuration, an object of the store like any other.
const clusterFile = "cluster.yaml"

func (a *Agent) storeLayer(ctx context.Context, objects *assets.Store) ([]config.Layer, error) {
	data, err := objects.Read(ctx, clusterFile)
	if errors.Is(err, assets.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []config.Layer{{Name: objects.State().Source + "/" + clusterFile, Data: data}}, nil
}

// settled is the configuration with what tags say about cluster and role, complete or refused.
func settled(asked config.Config, seen facts.Facts) (config.Config, error) {
	if seen.Tags.Role != "" {
		asked.Role = seen.Tags.Role
	}
	switch tagged := seen.Tags.Cluster; {
	case asked.Cluster == "":
		asked.Cluster = tagged
	case tagged != "" && tagged != asked.Cluster:
		return asked, status.Fail(status.ReasonConfigInvalid, "correct the tag, or `cluster` in the configuration",
			fmt.Errorf("the tags say that this is a node of cluster %s, the configuration says %s", tagged, asked.Cluster))
	}
	if err := asked.Complete().Err(); err != nil {
		return asked, status.Fail(status.ReasonConfigInvalid, "", err)
	}
	return asked, nil
}

// role loads the role with the store's overlay over it.
func (a *Agent) role(ctx context.Context, objects *assets.Store, name string) (role roles.Role, err error) {
	ctx, span := status.Step(ctx, "role")
	defer func() { span.Done(err) }()
	if err := objects.Prefetch(ctx, "roles"); err != nil {
		return role, err
	}
	if role, err = roles.Load(roles.Builtin(), objects.FS("roles"), name); err != nil {
		return role, status.Fail(status.ReasonPlanInvalid, "", err)
	}
	return role, nil
}

// equip gives a boot the means to apply its plan.
func (a *Agent) equip(in *inputs) (err error) {
	if in.keeper, err = a.keeper(in); err != nil {
		return err
	}
	in.engine = &apply.Engine{
		Host: a.host, Units: a.Units, Assets: &objects{store: in.objects}, Etcd: deciding{in.keeper},
		Secrets: &secrets.Reader{Records: in.records, S3: func() *s3.Client { return in.clients.S3(in.config.AWS.Region) },
			Parameter: func(ctx context.Context, ask *ssm.GetParameterInput, options ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
				return in.clients.SSM().GetParameter(ctx, ask, options...)
			}, Path: a.host.Path},
		Unpack: unpack, Timeouts: in.config.Timeouts, Logger: a.Logger,
	}
	in.engine.Certs = certs{a.holder(in), a.board, a.metrics}
	return nil
}
