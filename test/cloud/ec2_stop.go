package cloud

// Stop takes an instance's power; its disk, its address and its volumes stay. A group replaces a member that does not run,
// unless ReplaceUnhealthy is suspended. The errors are EC2's.
func (c *Cloud) Stop(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.tick()
	return c.stop(id)
}

// Start gives a stopped instance its power back.
func (c *Cloud) Start(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick()
	return c.start(id)
}

func (c *Cloud) stop(id string) error {
	i := c.instances[id]
	switch {
	case i == nil:
		return notFound(id)
	case i.gone():
		return errorf(400, "IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped.", id)
	case i.alive():
		i.state, i.halted = "stopping", c.now()
		if c.opts.ShutdownTime == 0 {
			i.state = "stopped"
		}
		c.emitStop(i)
	}
	return nil
}

func (c *Cloud) start(id string) error {
	i := c.instances[id]
	switch {
	case i == nil:
		return notFound(id)
	case i.alive():
	case i.state != "stopped":
		return errorf(400, "IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", id)
	default:
		i.state = "running"
		c.emitStart(i)
	}
	return nil
}

func stopInstances(a *call) (any, error) { return a.changeState(a.stop, "stopping", "stopped") }

func startInstances(a *call) (any, error) { return a.changeState(a.start, "pending", "running") }

// changeState does something to the instances that a request names. EC2 answers with the state on the way, however soon the
// instance arrives.
func (a *call) changeState(do func(id string) error, way, end string) (any, error) {
	ids, err := a.wanted()
	if err != nil {
		return nil, err
	}
	var out stateChanges
	for _, id := range ids {
		before := stateOf(a.instances[id].state)
		if err := do(id); err != nil {
			return nil, err
		}
		now := stateOf(way)
		if before.Name == end {
			now = before
		}
		out.Instances = append(out.Instances, stateChange{id, now, before})
	}
	a.tick()
	return out, nil
}
