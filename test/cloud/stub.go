package cloud

type group struct{}
type parameter struct{}
type hostedZone struct{}

var autoscalingOperations, ssmOperations, route53Operations map[string]operation

func route53Route(m, p string) (string, string) { return "", "" }
func (c *Cloud) reconcileGroups()               {}
func (c *Cloud) targetState(i *Instance) string { return "" }
