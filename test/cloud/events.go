package cloud

import "sync"

// Subscriber is told what happens to instances. Its functions are called one after the other in the order of events,
// on a goroutine of their own and without locks, so they may call the Cloud; they must return soon. Any may be nil.
type Subscriber struct {
	OnLaunch    func(*Instance)
	OnTerminate func(*Instance) // the instance is gone or going; its IMDS answers no more
	OnStop      func(*Instance) // the power goes, the disk and the address stay
	OnStart     func(*Instance) // after a stop
	OnAttach    func(*Instance, Volume)
	OnDetach    func(*Instance, Volume)
}

// Subscribe adds s. Events of the past are not repeated.
func (c *Cloud) Subscribe(s Subscriber) {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	c.events.subscribers = append(c.events.subscribers, s)
}

// Settle returns once every event so far was delivered. Not to be called from a subscriber.
func (c *Cloud) Settle() {
	c.events.running.Wait()
}

// dispatcher delivers events in order. Its goroutine lives only while there are some.
type dispatcher struct {
	mu          sync.Mutex
	subscribers []Subscriber
	queue       []func(Subscriber)
	active      bool
	running     sync.WaitGroup
}

func (d *dispatcher) emit(event func(Subscriber)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, event)
	if !d.active {
		d.active = true
		d.running.Go(d.deliver)
	}
}

func (d *dispatcher) deliver() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.active = false
			d.mu.Unlock()
			return
		}
		event := d.queue[0]
		d.queue = d.queue[1:]
		subscribers := append([]Subscriber(nil), d.subscribers...)
		d.mu.Unlock()
		for _, s := range subscribers {
			event(s)
		}
	}
}

func (c *Cloud) emitLaunch(i *Instance) {
	c.log.Info("instance launched", "instance", i.ID, "address", i.PrivateIP.String())
	c.events.emit(func(s Subscriber) {
		if s.OnLaunch != nil {
			s.OnLaunch(i)
		}
	})
}

func (c *Cloud) emitTerminate(i *Instance) {
	c.log.Info("instance terminated", "instance", i.ID)
	c.events.emit(func(s Subscriber) {
		if s.OnTerminate != nil {
			s.OnTerminate(i)
		}
	})
}

func (c *Cloud) emitStop(i *Instance) {
	c.log.Info("instance stopped", "instance", i.ID)
	c.events.emit(func(s Subscriber) {
		if s.OnStop != nil {
			s.OnStop(i)
		}
	})
}

func (c *Cloud) emitStart(i *Instance) {
	c.log.Info("instance started", "instance", i.ID)
	c.events.emit(func(s Subscriber) {
		if s.OnStart != nil {
			s.OnStart(i)
		}
	})
}

func (c *Cloud) emitAttach(i *Instance, v Volume) {
	c.events.emit(func(s Subscriber) {
		if s.OnAttach != nil {
			s.OnAttach(i, v)
		}
	})
}

func (c *Cloud) emitDetach(i *Instance, v Volume) {
	c.events.emit(func(s Subscriber) {
		if s.OnDetach != nil {
			s.OnDetach(i, v)
		}
	})
}
