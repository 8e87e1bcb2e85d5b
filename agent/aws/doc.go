// Package aws makes the clients of AWS that the agent uses: credentials, region, endpoints, time-outs and retries, the
// same for every service, in every partition.
//
// Nothing here knows a region or a domain of its own: the region comes from IMDS or the configuration, and the DNS
// suffix that IMDS names wins over what the SDK believes (an isolated partition may be younger than the SDK).
//
// To add a service: a constructor in services.go, and its name in config.AWS.Endpoints.
package aws
