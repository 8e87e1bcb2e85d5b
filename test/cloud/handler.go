package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// operation answers one API action. The state is locked while it runs and until its reply is encoded.
type operation func(*call) (any, error)

// service is one API.
type service struct {
	name       string
	protocol   protocol
	codes      *codes
	operations map[string]operation
}

// call is one API request on its way.
type call struct {
	*Cloud
	service   *service
	action    string
	resource  string // Route 53: the id in the path
	form      params // query protocols, and the query string of Route 53
	body      []byte
	http      *http.Request
	scope     scope
	caller    *principal
	requestID string
	effects   []Effect
}

// services by name. The operations of each are in its own file.
var services = map[string]*service{
	"ec2":         {"ec2", ec2Query{}, &ec2Codes, ec2Operations},
	"autoscaling": {"autoscaling", awsQuery{"http://autoscaling.amazonaws.com/doc/2011-01-01/"}, &queryCodes, autoscalingOperations},
	"sts":         {"sts", awsQuery{"https://sts.amazonaws.com/doc/2011-06-15/"}, &queryCodes, stsOperations},
	"ssm":         {"ssm", awsJSON{}, &ssmCodes, ssmOperations},
	"kms":         {"kms", awsJSON{}, &kmsCodes, kmsOperations},
	"route53":     {"route53", restXML{"https://route53.amazonaws.com/doc/2013-04-01/"}, &queryCodes, route53Operations},
}

// versions tell the query services apart.
var versions = map[string]string{"2016-11-15": "ec2", "2011-01-01": "autoscaling", "2011-06-15": "sts"}

// pace is the least time that an answer takes. No endpoint of AWS is faster, and one that answers before the client's
// write loop is back makes net/http cut the connection, since request bodies of smithy-go (v1.28.8) return io.EOF from
// WriteTo once they are closed.
const pace = 2 * time.Millisecond

// Handler is the region's endpoint for every API: give it to the SDK as BaseEndpoint or AWS_ENDPOINT_URL.
func (c *Cloud) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			panic(http.ErrAbortHandler) // the client went away
		}
		call, err := c.parse(r, body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		call.serve(w)
	})
}

// parse finds out what is asked and by whom, and trusts neither yet.
func (c *Cloud) parse(r *http.Request, body []byte) (*call, error) {
	a := &call{Cloud: c, http: r, body: body, form: params(r.URL.Query())}
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasPrefix(target, "AmazonSSM."):
		a.service, a.action = services["ssm"], strings.TrimPrefix(target, "AmazonSSM.")
	case strings.HasPrefix(target, "TrentService."):
		a.service, a.action = services["kms"], strings.TrimPrefix(target, "TrentService.")
	case strings.HasPrefix(r.URL.Path, "/2013-04-01/"):
		a.service = services["route53"]
		a.action, a.resource = route53Route(r.Method, r.URL.Path)
	default:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, fmt.Errorf("form: %w", err)
		}
		for k, v := range form {
			a.form[k] = v
		}
		a.service, a.action = services[versions[a.form.get("Version")]], a.form.get("Action")
		if a.service == nil {
			return nil, fmt.Errorf("version %q of action %q is none of %v", a.form.get("Version"), a.action, versions)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.scope = parseScope(r)
	a.caller = c.keys[a.scope.key]
	a.requestID = fmt.Sprintf("%08x-%04x-4000-8000-%012x", c.rand.Uint32(), c.rand.Uint32()>>16, c.rand.Uint64()>>16)
	return a, nil
}

func (a *call) serve(w http.ResponseWriter) {
	record := Request{Service: a.service.name, Action: a.action, Path: a.http.URL.Path, AccessKeyID: a.scope.key}
	if a.caller != nil {
		record.Instance = a.caller.instance
	}
	record.Time = a.now()
	done := func(status int, code string) {
		record.Status, record.Code = status, code
		a.requests.add(record)
	}
	if a.service.name == "route53" && !a.opts.Route53 {
		done(0, "")
		reset(w)
	}
	a.effects = a.faults.match(record)
	for _, e := range a.effects {
		record.Faults = append(record.Faults, e.String())
	}
	failed := gate(w, a.http, append([]Effect{Latency(pace)}, a.effects...), func() { done(0, "") })
	if other := answered(a.effects); failed == otherAnswer && other != nil {
		done(other.status, "")
		other.write(w)
		return
	}
	status, data := http.StatusOK, []byte(nil)
	err := a.refuse(failed)
	if err == nil {
		data, err = a.run()
	}
	contentType := a.service.protocol.contentType()
	if wantsJSON(a.http) && a.service.name == "sts" {
		contentType = "application/json"
	}
	code := ""
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = errorf(500, "InternalFailure", "%v", err)
		}
		status, code = e.Status, e.Code
		if data, err = a.service.protocol.fail(a, e); err != nil {
			panic(err) // the error types of this package can be encoded
		}
		contentType = a.service.protocol.contentType()
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", a.requestID)
	w.WriteHeader(status)
	done(status, code)
	if _, err := w.Write(data); err != nil {
		a.log.Debug("client went away", "action", a.action)
	}
}

// refuse turns a fault into the service's own error.
func (a *call) refuse(failed kind) error {
	c := a.service.codes
	var e Error
	switch failed {
	case none:
		return nil
	case throttle:
		e = c.throttled
	case deny:
		e = c.denied
		who := "anonymous"
		if a.caller != nil {
			who = a.caller.arn
		}
		e.Message += fmt.Sprintf("User: %s is not authorized to perform: %s:%s because no identity-based policy allows the %s:%s action",
			who, a.service.name, a.action, a.service.name, a.action)
	case unavailable:
		e = c.unavailable
	default:
		e = c.internal
	}
	return &e
}

func (a *call) run() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.authenticate(); err != nil {
		return nil, err
	}
	if a.caller.account != a.opts.AccountID && a.service.name != "sts" && a.service.name != "kms" {
		return nil, a.refuse(deny) // it would see its own account, of which there is nothing here
	}
	op, ok := a.service.operations[a.action]
	if !ok {
		e := a.service.codes.unknownAction
		e.Message += " (" + a.action + ")"
		a.log.Warn("unknown action", "service", a.service.name, "action", a.action)
		return nil, &e
	}
	a.tick()
	out, err := op(a)
	if err != nil {
		return nil, err
	}
	if wantsJSON(a.http) && a.service.name == "sts" {
		return json.Marshal(map[string]any{a.action + "Response": map[string]any{
			a.action + "Result": out, "ResponseMetadata": map[string]string{"RequestId": a.requestID},
		}})
	}
	return a.service.protocol.reply(a, out)
}
