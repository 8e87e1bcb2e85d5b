package agent

import (
	"context"
	"io/fs"
	"slices"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/aws"
	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/agent/plan"
	"rekindle/roles"
)

// Offline is a plan's input on a laptop: files instead of a node.
type Offline struct {
	Layers   []config.Layer
	Problems config.Problems // of the layers' outer forms
	Facts    facts.Facts
	Role     string // instead of what the tags say
	Overlay  fs.FS
	Manifest *assets.Manifest
}

// Plan makes the plan that the node would make.
func (o Offline) Plan() (*plan.Plan, error) {
	asked, problems := config.Load(o.Layers...)
	if err := append(o.Problems, problems...).Err(); err != nil {
		return nil, err
	}
	if o.Role != "" {
		o.Facts.Tags.Role = o.Role
	}
	if asked.Store == "" {
		asked.Store = "s3://unknown" // a laptop needs none, and no template shows it
	}
	complete, err := settled(*asked, o.Facts)
	if err != nil {
		return nil, err
	}
	role, err := roles.Load(roles.Builtin(), o.Overlay, complete.Role)
	if err != nil {
		return nil, err
	}
	in := plan.Input{Config: complete, Role: role, Facts: o.Facts}
	if o.Manifest != nil {
		in.Manifest = map[string]string{}
		for _, object := range o.Manifest.Objects {
			in.Manifest[object.Path] = object.SHA256
		}
	}
	return plan.Make(in)
}

// Looked is what a node knows of itself without having changed anything.
type Looked struct {
	Facts facts.Facts
	Plan  *plan.Plan
	n     *node
}

// Look finds out what a boot would, and changes nothing but the cache of assets that it reads the roles from.
func Look(ctx context.Context, options Options) (*Looked, error) {
	a := newAgent(options)
	n, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	if n.want, err = a.plan(ctx, n); err != nil {
		return nil, err
	}
	return &Looked{Facts: n.facts, Plan: n.want, n: n}, nil
}

// Preview is what applying the plan would change.
func (l *Looked) Preview(ctx context.Context) (apply.Report, error) {
	return l.n.engine.Preview(ctx, l.Plan)
}

// observeTimeout bounds the wait for tags in Observe: somebody sits before it.
const observeTimeout = 15 * time.Second

// Observe is the facts alone: what `rekindle facts` prints. A store that cannot be read costs only what its cluster.yaml
// would have said.
func Observe(ctx context.Context, options Options) (facts.Facts, error) {
	a := newAgent(options)
	o, err := a.open(ctx)
	if err != nil {
		return facts.Facts{}, err
	}
	clients, err := a.locate(ctx, o)
	if err != nil {
		return facts.Facts{}, err
	}
	asked := o.asked
	if shared, err := a.shared(ctx, clients, o); err != nil {
		a.Logger.Warn("the store's configuration is left out", "error", err)
	} else if asked, err = a.resolve(slices.Concat(o.image, shared, o.own)...); err != nil {
		return facts.Facts{}, err
	}
	asked.Timeouts.Role = min(asked.Timeouts.Role, observeTimeout)
	return a.observer(o.meta, clients, asked).first(ctx, o.metadata)
}

func (a *Agent) shared(ctx context.Context, clients *aws.Clients, o opening) ([]config.Layer, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	objects, err := a.openStore(ctx, clients, o.asked)
	if err != nil {
		return nil, err
	}
	return a.storeLayer(ctx, objects)
}
